//! What the container image is made of, as docs/threat-model.md says it: the last stage of the Dockerfile adds the program
//! and the CA certificates to a base without a shell, and runs as nobody. No image is built here.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

use super::Problem;

const FILE: &str = "Dockerfile";
/// The base where nobody names another: it has no shell.
const BASE: &str = "ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot";
/// Each of these must be in the last stage, as one instruction.
const DEMANDED: [&str; 3] = [
    "FROM ${RUNTIME_IMAGE}",
    "USER 65532:65532",
    "ENV ROADSTEAD_HTTP_ADDR=0.0.0.0:8080 ROADSTEAD_ADMIN_ADDR=127.0.0.1:9090",
];
/// All that the last stage may take from elsewhere.
const COPIED: [&str; 2] = [
    "COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
    "COPY --from=builder /out/roadstead /usr/local/bin/roadstead",
];
/// Instructions that would add to the image otherwise.
const ADDING: [&str; 3] = ["ADD", "COPY", "RUN"];

/// Reads the Dockerfile.
///
/// # Errors
/// When it cannot be read.
pub(super) fn check(root: &Path, problems: &mut Vec<Problem>) -> Result<()> {
    let text = fs::read_to_string(root.join(FILE)).context("cannot read the Dockerfile")?;
    problems.extend(judge(&text).into_iter().map(|what| Problem { file: FILE.into(), line: None, what }));
    Ok(())
}

fn judge(text: &str) -> Vec<String> {
    let instructions = instructions(text);
    let stage = instructions.iter().rposition(|line| line.starts_with("FROM ")).unwrap_or(0);
    let (before, last) = instructions.split_at(stage);
    let mut problems = Vec::new();
    let mut demand = |lines: &[String], wanted: &str| {
        if !lines.iter().any(|line| line == wanted) {
            problems.push(format!("lacks `{wanted}`, which docs/threat-model.md builds on"));
        }
    };
    demand(before, BASE);
    DEMANDED.iter().for_each(|wanted| demand(last, wanted));
    let adds = |line: &&String| ADDING.iter().any(|word| line.split(' ').next() == Some(word));
    let more = last.iter().filter(adds).filter(|line| !COPIED.contains(&line.as_str()));
    problems.extend(more.map(|line| format!("`{line}` adds to the image more than docs/threat-model.md says")));
    let users = last.iter().filter(|line| line.starts_with("USER ")).count();
    if users > 1 {
        problems.push("has several users in its last stage".to_owned());
    }
    problems
}

/// The instructions, each on one line with single blanks, without comments.
fn instructions(text: &str) -> Vec<String> {
    let text: String =
        text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(change: impl Fn(String) -> String) -> String {
        let last: Vec<&str> = DEMANDED.into_iter().chain(COPIED).collect();
        change(format!("{BASE}\nFROM rust AS builder\nRUN make \\\n    # a comment\n    all\n{}\n", last.join("\n")))
    }

    #[test]
    fn an_image_that_holds_more_than_is_documented_is_found() {
        assert_eq!(judge(&file(|text| text)), [""; 0]);
        let changes: [(&str, &str, &str); 6] = [
            ("cc-debian12:nonroot", "cc-debian12:debug", "lacks `ARG RUNTIME_IMAGE"),
            ("USER 65532:65532", "USER root", "lacks `USER 65532:65532`"),
            ("USER 65532:65532", "USER 65532:65532\nUSER 0", "several users"),
            ("ADMIN_ADDR=127.0.0.1", "ADMIN_ADDR=0.0.0.0", "lacks `ENV"),
            ("USER 65532:65532", "USER 65532:65532\nRUN apt-get \\\n  install bash", "`RUN apt-get install bash` adds"),
            (
                "/out/roadstead /usr/local/bin/roadstead",
                "/bin/sh /bin/sh",
                "`COPY --from=builder /bin/sh /bin/sh` adds",
            ),
        ];
        for (from, to, problem) in changes {
            let found = judge(&file(|text| text.replacen(from, to, 1)));
            assert!(matches!(found.as_slice(), [one] if one.contains(problem)), "{to}: {found:?}");
        }
    }
}
