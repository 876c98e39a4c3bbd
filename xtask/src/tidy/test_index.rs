//! Finds the tests of the host and what they name: which limits a test sets, which constants it uses. The page of
//! limits names them. It reads the sources alone, and knows no rule about them.

mod mentions;

use anyhow::{Context, Result};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::{Attribute, Item, ItemFn, Meta};

use mentions::Mentions;

/// Where tests of the host are.
const FOLDERS: [&str; 7] = ["config", "runtime", "plugins", "proxy", "telemetry", "src", "tests"];
/// Tests of the table of limits itself.
const OF_THE_TABLE: &str = "config/src/limits.rs";
/// Tests that set limits to bring something else about, and meet no bound.
const ABOUT_OTHER_THINGS: [&str; 4] = [
    "a_change_during_the_start_is_not_lost",
    "a_compiler_and_a_host_with_the_same_limits_have_the_same_fingerprint",
    "an_instance_finds_nothing_that_another_left",
    "what_the_host_keeps_for_a_call_is_cleared_before_the_next_of_the_same_instance",
];
const NAMES_SHOWN_MAX: usize = 3;

/// All tests of the host.
#[derive(Default)]
pub(super) struct TestIndex {
    tests: Vec<Test>,
}

/// A test function, with the helpers that are its own.
struct Test {
    name: String,
    file: PathBuf,
    mentions: Mentions,
}

impl TestIndex {
    /// Reads the sources.
    ///
    /// # Errors
    /// When one cannot be read or is not Rust.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for folder in FOLDERS {
            super::walk(root, Path::new(folder), &mut files)?;
        }
        let mut index = Self::default();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
            let text =
                fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
            index.add(file, &text).with_context(|| format!("cannot parse {}", file.display()))?;
        }
        Ok(index)
    }

    pub(super) fn add(&mut self, file: &Path, text: &str) -> syn::Result<()> {
        let mut found = Functions::default();
        found.read(syn::parse_file(text)?.items, is_of_tests(file));
        self.tests.extend(found.into_tests(file));
        Ok(())
    }

    /// The tests that set the limit called `limit`; where none does, those whose code or texts name it. Those that are
    /// about other things are left out.
    pub(super) fn of_limit(&self, limit: &str) -> BTreeSet<&str> {
        let of_bounds =
            |test: &&Test| test.file != Path::new(OF_THE_TABLE) && !ABOUT_OTHER_THINGS.contains(&test.name.as_str());
        let with = |wanted: &dyn Fn(&Mentions) -> bool| {
            let tests = self.tests.iter().filter(of_bounds).filter(|test| wanted(&test.mentions));
            tests.map(|test| test.name.as_str()).collect::<BTreeSet<_>>()
        };
        let setting = with(&|mentions| mentions.sets(limit));
        if setting.is_empty() { with(&|mentions| mentions.names(limit)) } else { setting }
    }

    /// Names in [`ABOUT_OTHER_THINGS`] that are no test's.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &'static str> {
        ABOUT_OTHER_THINGS.into_iter().filter(|name| !self.tests.iter().any(|test| test.name == *name))
    }

    /// The tests that name the constant `name` of `file`: those of its own module, and any whose code (in the same
    /// crate) or documentation names it with its module.
    pub(super) fn of_constant(&self, file: &Path, name: &str) -> BTreeSet<&str> {
        let module = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        let own_tests = file.with_extension("").join("tests.rs");
        let tests = self.tests.iter().filter(|test| {
            let of_module = test.file == file || test.file == own_tests;
            let of_crate = crate_of(&test.file) == crate_of(file);
            (of_module && test.mentions.uses(name))
                || (of_crate && test.mentions.uses_path(module, name))
                || test.mentions.documents(&format!("`{module}::{name}`"))
        });
        tests.map(|test| test.name.as_str()).collect()
    }
}

/// A cell of the page.
pub(super) fn cell(names: &BTreeSet<&str>) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMES_SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    if let Some(more) = names.len().checked_sub(NAMES_SHOWN_MAX).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// Whether the whole file is test code.
fn is_of_tests(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs")
}

fn crate_of(file: &Path) -> Option<&Path> {
    file.ancestors().find(|folder| folder.ends_with("src"))
}

/// The test code of one file.
#[derive(Default)]
struct Functions {
    tests: Vec<(String, Mentions)>,
    /// Functions and constants that tests use, by their names.
    helpers: BTreeMap<String, Mentions>,
}

impl Functions {
    fn read(&mut self, items: Vec<Item>, of_tests: bool) {
        for item in items {
            match item {
                Item::Mod(module) => {
                    let of_tests = of_tests || module.attrs.iter().any(is_cfg_test);
                    self.read(module.content.map(|(_, items)| items).unwrap_or_default(), of_tests);
                }
                Item::Fn(function) if function.attrs.iter().any(is_test) => {
                    self.tests.push((function.sig.ident.to_string(), of_test(function)));
                }
                Item::Fn(function) if of_tests => {
                    self.help(&function.sig.ident, function.block.to_token_stream());
                }
                Item::Const(constant) if of_tests => self.help(&constant.ident, constant.expr.to_token_stream()),
                Item::Static(constant) if of_tests => self.help(&constant.ident, constant.expr.to_token_stream()),
                _ => {}
            }
        }
    }

    fn help(&mut self, name: &syn::Ident, tokens: proc_macro2::TokenStream) {
        self.helpers.entry(name.to_string()).or_default().read(tokens);
    }

    /// Each test with the helpers that no other test uses: what all share is not what one of them is about.
    fn into_tests(self, file: &Path) -> Vec<Test> {
        let used: Vec<BTreeSet<String>> = self.tests.iter().map(|(_, mentions)| self.helpers_of(mentions)).collect();
        let is_own = |helper: &String| used.iter().filter(|used| used.contains(helper)).count() == 1;
        let with_own = self.tests.iter().zip(&used).map(|((name, mentions), used)| {
            let mut mentions = mentions.clone();
            let own = used.iter().filter(|helper| is_own(helper)).filter_map(|helper| self.helpers.get(helper));
            own.for_each(|helper| mentions.add(helper));
            Test { name: name.clone(), file: file.to_owned(), mentions }
        });
        with_own.collect()
    }

    /// The names of the helpers that are reached from code.
    fn helpers_of(&self, mentions: &Mentions) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut to_do = vec![mentions];
        while let Some(mentions) = to_do.pop() {
            for (name, helper) in self.helpers.iter().filter(|(name, _)| mentions.uses(name)) {
                if reached.insert(name.clone()) {
                    to_do.push(helper);
                }
            }
        }
        reached
    }
}

fn of_test(function: ItemFn) -> Mentions {
    let mut mentions = Mentions::default();
    function.attrs.iter().filter_map(documentation).for_each(|text| mentions.document(&text));
    mentions.read(function.block.into_token_stream());
    mentions
}

/// `#[test]`, `#[tokio::test]` and the like.
fn is_test(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    let condition = attribute.path().is_ident("cfg").then(|| attribute.meta.require_list().ok()).flatten();
    condition.is_some_and(|list| list.tokens.to_string() == "test")
}

fn documentation(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(sources: &[(&str, &str)]) -> TestIndex {
        let mut index = TestIndex::default();
        for (file, text) in sources {
            index.add(Path::new(file), text).unwrap();
        }
        index
    }

    fn names(list: BTreeSet<&str>) -> Vec<&str> {
        list.into_iter().collect()
    }

    #[test]
    fn tests_that_set_a_limit_are_found() {
        let index = index(&[(
            "proxy/tests/ingress.rs",
            r#"
            #[test] fn by_field() { start(Limits { a_max: 1, ..Limits::default() }); }
            #[tokio::test] async fn by_closure() { start(|limits| limits.a_max = 1).await; }
            #[tokio::test(flavor = "multi_thread")] async fn by_tuple() { (limits.b_max, limits.a_max) = (1, 2); }
            #[test] fn by_shorthand() { Limits { x_max: 1, a_max, ..Limits::default() }; }
            #[test] fn by_flag() { assert!(run("--limit", "a_max=5")); }
            #[test] fn named_only() { assert_eq!(error, "too large (a_max)"); limits.a_max == 1; }
            #[test] fn of_something_else() { Bounds { a_max: 1 }; let c_max = 1; }
            #[test] fn read_only() { let a = limits.only_read_max; }
            fn no_test() { Limits { a_max: 1 } }
            "#,
        )]);
        assert_eq!(names(index.of_limit("a_max")), ["by_closure", "by_field", "by_flag", "by_shorthand", "by_tuple"]);
        assert_eq!(names(index.of_limit("b_max")), ["by_tuple"]);
        assert_eq!(names(index.of_limit("only_read_max")), ["read_only"]);
        assert!(index.of_limit("c_max").is_empty());
    }

    #[test]
    fn a_helper_counts_for_the_only_test_that_uses_it() {
        let index = index(&[(
            "runtime/src/a/tests.rs",
            "
            const SMALL: &str = \"a_max=1\";
            fn shared() { Limits { b_max: 1 } }
            fn through() { own() }
            fn own() { SMALL }
            #[test] fn first() { shared(); through(); }
            #[test] fn second() { shared(); }
            ",
        )]);
        assert_eq!(names(index.of_limit("a_max")), ["first"]);
        assert!(index.of_limit("b_max").is_empty());
    }

    #[test]
    fn constants_are_those_of_the_tests_own_module() {
        let index = index(&[
            (
                "config/src/a.rs",
                "fn real() { LENGTH_MAX } #[cfg(test)] mod tests { #[test] fn inline() { LENGTH_MAX; } }",
            ),
            ("config/src/a/tests.rs", "#[test] fn beside() { super::LENGTH_MAX; }"),
            ("config/src/b.rs", "#[cfg(test)] mod tests { #[test] fn other() { LENGTH_MAX; } }"),
            ("config/src/c.rs", "#[cfg(test)] mod tests { #[test] fn by_path() { a::LENGTH_MAX; } }"),
            ("proxy/src/d.rs", "#[cfg(test)] mod tests { #[test] fn of_another_crate() { a::LENGTH_MAX; } }"),
            ("tests/it/e.rs", "/// Meets `a::LENGTH_MAX`.\n#[test] fn from_outside() {}"),
        ]);
        let found = index.of_constant(Path::new("config/src/a.rs"), "LENGTH_MAX");
        assert_eq!(names(found), ["beside", "by_path", "from_outside", "inline"]);
    }

    #[test]
    fn a_cell_names_three() {
        assert_eq!(cell(&BTreeSet::from(["a", "b"])), "`a`, `b`");
        assert_eq!(cell(&BTreeSet::from(["a", "b", "c", "d", "e"])), "`a`, `b`, `c`, and 2 more");
    }
}
