//! Blanks comments and literals out of Rust source, so that rules see only code. It knows where literals begin and end,
//! and nothing else of the language.

use std::iter::Peekable;
use std::str::Chars;

/// The source with every comment, string and character literal replaced by blanks; lines stay lines.
pub(super) fn code_only(source: &str) -> String {
    let mut masker =
        Masker { rest: source.chars().peekable(), out: String::with_capacity(source.len()), word: String::new() };
    while let Some(character) = masker.rest.next() {
        masker.take(character);
    }
    masker.out
}

struct Masker<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// The identifier that ends here: `r`, `br` and the like before a quote or `#` begin a raw string.
    word: String,
}

impl Masker<'_> {
    fn take(&mut self, character: char) {
        let word = std::mem::take(&mut self.word);
        match (character, self.rest.peek()) {
            ('/', Some('/')) => {
                self.blank(character);
                self.blank_while(|next| next != '\n');
            }
            ('/', Some('*')) => {
                self.blank(character);
                self.block_comment();
            }
            ('"', _) if word.ends_with('r') && is_prefix(&word) => self.raw_string(0),
            ('"', _) => {
                self.blank(character);
                self.literal('"');
            }
            ('#', Some('#' | '"')) if word.ends_with('r') && is_prefix(&word) => {
                let hashes = 1 + self.count_hashes();
                if self.rest.next_if_eq(&'"').is_some() {
                    self.raw_string(hashes);
                }
            }
            ('\'', _) => self.quote(),
            _ => {
                if character.is_alphanumeric() || character == '_' {
                    self.word = word + character.encode_utf8(&mut [0; 4]);
                }
                self.out.push(character);
            }
        }
    }

    fn blank(&mut self, character: char) {
        self.out.push(if character == '\n' { '\n' } else { ' ' });
    }

    fn blank_while(&mut self, wanted: impl Fn(char) -> bool) {
        while let Some(character) = self.rest.next_if(|next| wanted(*next)) {
            self.blank(character);
        }
    }

    fn count_hashes(&mut self) -> usize {
        std::iter::from_fn(|| self.rest.next_if_eq(&'#')).count()
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        let mut previous = '/';
        while let Some(character) = self.rest.next() {
            self.blank(character);
            match (previous, character) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    previous = character;
                    continue;
                }
            }
            previous = ' ';
            if depth == 0 {
                return;
            }
        }
    }

    /// The rest of a literal in which `\` escapes.
    fn literal(&mut self, end: char) {
        while let Some(character) = self.rest.next() {
            self.blank(character);
            if character == '\\' {
                if let Some(escaped) = self.rest.next() {
                    self.blank(escaped);
                }
            } else if character == end {
                return;
            }
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        while let Some(character) = self.rest.next() {
            self.blank(character);
            if character == '"' && (hashes == 0 || self.closes(hashes)) {
                return;
            }
        }
    }

    fn closes(&mut self, hashes: usize) -> bool {
        for _ in 0..hashes {
            if self.rest.next_if_eq(&'#').is_none() {
                return false;
            }
        }
        true
    }

    /// A character literal, or a lifetime, which stays.
    fn quote(&mut self) {
        let mut ahead = self.rest.clone();
        let first = ahead.next();
        if first == Some('\\') || ahead.next() == Some('\'') {
            self.blank('\'');
            self.literal('\'');
        } else {
            self.out.push('\'');
        }
    }
}

fn is_prefix(word: &str) -> bool {
    matches!(word, "r" | "br" | "cr")
}

#[cfg(test)]
mod tests {
    use super::code_only;

    #[test]
    fn only_code_is_left() {
        let squeezed = |source| code_only(source).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed("a // b\nc"), "a c");
        assert_eq!(squeezed("a /* b /* c */ d */ e"), "a e");
        assert_eq!(squeezed(r#"a("b \" // c") d"#), "a( ) d");
        assert_eq!(squeezed("a(r#\"b \" c\"#) d"), "a(r ) d");
        assert_eq!(squeezed("a('\"') b('\\'') c"), "a( ) b( ) c");
        assert_eq!(squeezed("fn a<'b>(c: &'b str) {}"), "fn a<'b>(c: &'b str) {}");
    }

    #[test]
    fn lines_keep_their_numbers() {
        assert_eq!(code_only("a /* b\nc */ d\n\"e\nf\" g\n").lines().count(), 4);
    }
}
