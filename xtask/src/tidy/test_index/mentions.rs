//! What a piece of code names, read from its tokens, so that macros make no difference. It knows neither files nor
//! limits.

use proc_macro2::{Delimiter, Literal, Spacing, TokenStream, TokenTree};
use std::collections::BTreeSet;

use crate::tidy::rust_source::words;

#[derive(Clone, Default)]
pub(super) struct Mentions {
    /// Every identifier.
    identifiers: BTreeSet<String>,
    /// Names that get a value: `name: value`, `name = value`, `"name=value"`.
    set: BTreeSet<String>,
    /// Identifiers with what is before their `::`.
    paths: BTreeSet<(String, String)>,
    /// Words of string literals.
    texts: BTreeSet<String>,
    documentation: String,
}

impl Mentions {
    pub(super) fn sets(&self, name: &str) -> bool {
        self.set.contains(name)
    }

    pub(super) fn names(&self, name: &str) -> bool {
        self.uses(name) || self.texts.contains(name)
    }

    pub(super) fn uses(&self, name: &str) -> bool {
        self.identifiers.contains(name)
    }

    pub(super) fn uses_path(&self, before: &str, name: &str) -> bool {
        self.paths.contains(&(before.to_owned(), name.to_owned()))
    }

    pub(super) fn documents(&self, text: &str) -> bool {
        self.documentation.contains(text)
    }

    pub(super) fn document(&mut self, text: &str) {
        self.documentation.push_str(text);
        self.documentation.push('\n');
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.identifiers.extend(other.identifiers.iter().cloned());
        self.set.extend(other.set.iter().cloned());
        self.paths.extend(other.paths.iter().cloned());
        self.texts.extend(other.texts.iter().cloned());
    }

    pub(super) fn read(&mut self, tokens: TokenStream) {
        self.read_group(tokens, false);
    }

    /// `assigned`: the tokens are the left side of an assignment.
    fn read_group(&mut self, tokens: TokenStream, assigned: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        while let [token, after @ ..] = rest {
            match token {
                TokenTree::Ident(word) => {
                    let word = word.to_string();
                    if let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(next), ..] = after
                        && (one.as_char(), two.as_char()) == (':', ':')
                    {
                        self.paths.insert((word.clone(), next.to_string()));
                    }
                    if assigned || gets_value(after) {
                        self.set.insert(word.clone());
                    }
                    self.identifiers.insert(word);
                }
                TokenTree::Group(group) => {
                    let assigned = group.delimiter() == Delimiter::Parenthesis && is_one(after, '=');
                    self.read_group(group.stream(), assigned);
                }
                TokenTree::Literal(literal) => self.read_literal(literal),
                TokenTree::Punct(_) => {}
            }
            rest = after;
        }
    }

    fn read_literal(&mut self, literal: &Literal) {
        let syn::Lit::Str(text) = syn::Lit::new(literal.clone()) else { return };
        for (word, after) in words(&text.value()) {
            if after.starts_with('=') {
                self.set.insert(word.to_owned());
            }
            self.texts.insert(word.to_owned());
        }
    }
}

fn gets_value(after: &[TokenTree]) -> bool {
    is_one(after, ':') || is_one(after, '=')
}

/// Whether the next token is this character, and no part of `::`, `==` or `=>`.
fn is_one(after: &[TokenTree], character: char) -> bool {
    match after {
        [TokenTree::Punct(mark), ..] => mark.as_char() == character && mark.spacing() == Spacing::Alone,
        _ => false,
    }
}
