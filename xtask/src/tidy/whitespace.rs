//! White space that diffs should not show: tabs, blanks at the end of lines, carriage returns, a missing last newline.

use super::Findings;

pub(super) fn check(text: &str, findings: &mut Findings<'_>) {
    for (index, line) in text.split('\n').enumerate() {
        if line.contains('\t') {
            findings.at(index + 1, "tab: use spaces");
        }
        if line.ends_with([' ', '\t', '\r']) {
            findings.at(index + 1, "white space at the end of the line");
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.whole("no newline at the end of the file");
    }
    if text.ends_with("\n\n") {
        findings.whole("empty lines at the end of the file");
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::problems;

    #[test]
    fn each_kind_is_found_with_its_line() {
        let found = problems("a.md", |_, findings| super::check("fine\nblank \n\ttab\nno end", findings));
        assert_eq!(
            found,
            [
                "a.md:2: white space at the end of the line",
                "a.md:3: tab: use spaces",
                "a.md: no newline at the end of the file",
            ]
        );
        assert!(problems("a.md", |_, findings| super::check("fine\n", findings)).is_empty());
    }
}
