//! What a piece of code names, read from its tokens, so that macros make no difference. It knows neither files nor
//! limits.

use proc_macro2::{Delimiter, Literal, Spacing, TokenStream, TokenTree};
use std::collections::BTreeSet;

use crate::tidy::rust_source::words;

#[derive(Clone, Default)]
pub(super) struct Mentions {
    /// Every identifier.
    identifiers: BTreeSet<String>,
    /// Those after a dot: `limits.name`.
    fields: BTreeSet<String>,
    /// Limits that get a value: `Limits { name: value }`, `Limits { name }`,
    /// `limits.name = value`, `"name=value"`.
    set: BTreeSet<String>,
    /// Identifiers with what is before their `::`.
    paths: BTreeSet<(String, String)>,
    /// Words of string literals.
    texts: BTreeSet<String>,
    documentation: String,
}

/// Where a group of tokens stands.
#[derive(Clone, Copy)]
enum Place {
    /// Between the braces of `Limits { }`.
    Limits,
    /// On the left side of an assignment to a tuple.
    Assigned,
    Elsewhere,
}

impl Mentions {
    pub(super) fn sets(&self, name: &str) -> bool {
        self.set.contains(name)
    }

    pub(super) fn names(&self, name: &str) -> bool {
        self.fields.contains(name) || self.texts.contains(name)
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
        self.fields.extend(other.fields.iter().cloned());
        self.set.extend(other.set.iter().cloned());
        self.paths.extend(other.paths.iter().cloned());
        self.texts.extend(other.texts.iter().cloned());
    }

    pub(super) fn read(&mut self, tokens: TokenStream) {
        self.read_group(tokens, Place::Elsewhere);
    }

    fn read_group(&mut self, tokens: TokenStream, place: Place) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut before: Option<&TokenTree> = None;
        let mut rest = tokens.as_slice();
        while let [token, after @ ..] = rest {
            match token {
                TokenTree::Ident(word) => self.read_word(&word.to_string(), before, after, place),
                TokenTree::Group(group) => {
                    let place = match group.delimiter() {
                        Delimiter::Parenthesis if is_one(after, '=') => Place::Assigned,
                        Delimiter::Brace if is_word(before, "Limits") => Place::Limits,
                        _ => Place::Elsewhere,
                    };
                    self.read_group(group.stream(), place);
                }
                TokenTree::Literal(literal) => self.read_literal(literal),
                TokenTree::Punct(_) => {}
            }
            before = Some(token);
            rest = after;
        }
    }

    fn read_word(&mut self, word: &str, before: Option<&TokenTree>, after: &[TokenTree], place: Place) {
        if let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(next), ..] = after
            && (one.as_char(), two.as_char()) == (':', ':')
        {
            self.paths.insert((word.to_owned(), next.to_string()));
        }
        let is_field = matches!(before, Some(TokenTree::Punct(dot)) if dot.as_char() == '.');
        let is_set = match place {
            Place::Limits => is_one(after, ':') || (begins_field(before) && ends_field(after)),
            Place::Assigned => is_field,
            Place::Elsewhere => is_field && is_one(after, '='),
        };
        if is_field {
            self.fields.insert(word.to_owned());
        }
        if is_set {
            self.set.insert(word.to_owned());
        }
        self.identifiers.insert(word.to_owned());
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

fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(found)) if found == word)
}

fn begins_field(before: Option<&TokenTree>) -> bool {
    before.is_none_or(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ','))
}

fn ends_field(after: &[TokenTree]) -> bool {
    after.is_empty() || is_one(after, ',')
}

/// Whether the next token is this character, and no part of `::`, `==` or `=>`.
fn is_one(after: &[TokenTree], character: char) -> bool {
    match after {
        [TokenTree::Punct(mark), ..] => mark.as_char() == character && mark.spacing() == Spacing::Alone,
        _ => false,
    }
}
