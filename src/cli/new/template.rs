//! The text of a new project: the files under `template/` and the WIT of what its components import, with the names put in.
//! It must not know where they are written.

use roadstead_config::Namespace;

use super::name::ProjectName;

/// What stands for the name in the template. It is a name itself, so that the template is a project too.
const NAME: &str = "project-name";
/// What stands for the namespace.
const NAMESPACE: &str = "project-namespace";

/// A file of the project: its path in it, and its text.
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) text: String,
}

macro_rules! templates {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("template/", $path)))),*] };
}

/// In the order in which a newcomer reads them.
const TEMPLATES: &[(&str, &str)] = templates![
    "README.md",
    "app.yaml",
    "gateway/src/lib.rs",
    "gateway/src/routes.rs",
    "gateway/src/http.rs",
    "gateway/wit/world.wit",
    "gateway/Cargo.toml",
    "worker/src/lib.rs",
    "worker/src/count.rs",
    "worker/wit/world.wit",
    "worker/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    ".gitignore",
];

/// The repository's own text of the interfaces, of which there is one.
const WIT: &[(&str, &str)] = &[
    ("wit/wasi-logging/logging.wit", include_str!("../../../wit/wasi-logging/logging.wit")),
    ("wit/wasmcloud-messaging/messaging.wit", include_str!("../../../wit/wasmcloud-messaging/messaging.wit")),
];

/// All files of the project `name`.
pub(super) fn files(name: &ProjectName, namespace: &Namespace) -> Vec<File> {
    let filled = TEMPLATES.iter().map(|(path, text)| (*path, fill(text, name, namespace)));
    let wit = WIT.iter().map(|(path, text)| (*path, (*text).to_owned()));
    filled.chain(wit).map(|(path, text)| File { path, text }).collect()
}

/// The command lines that bring the project from its files to an answer, in its folder.
pub(super) fn steps(name: &ProjectName) -> Vec<String> {
    vec![
        "rustup target add wasm32-wasip2".to_owned(),
        "cargo build".to_owned(),
        "roadstead run .".to_owned(),
        format!("curl -H 'Host: {name}.localhost' --data 'one two three' http://127.0.0.1:8080/api/count"),
    ]
}

fn fill(text: &str, name: &ProjectName, namespace: &Namespace) -> String {
    // What was put in is not looked at again: a namespace may be called like a placeholder.
    let parts = text.split(NAMESPACE).map(|part| part.replace(NAME, name.as_str()));
    parts.collect::<Vec<_>>().join(namespace.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_in_everywhere() {
        let name: ProjectName = "ferry".parse().unwrap();
        let files = files(&name, &"my-team".parse().unwrap());
        assert!(files.iter().all(|file| !file.text.contains(NAME) && !file.text.contains(NAMESPACE)));
        let text = |path: &str| files.iter().find(|file| file.path == path).unwrap().text.as_str();
        assert!(text("app.yaml").contains("host: ferry.localhost") && text("app.yaml").contains("namespace: my-team"));
        assert!(text("gateway/src/lib.rs").contains("\"tasks.ferry\"") && text("app.yaml").contains(": tasks.ferry"));
        for step in steps(&name) {
            assert!(text("README.md").contains(&step), "README.md does not say {step}");
        }
    }

    /// A namespace that is the placeholder of the name stays what it is.
    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        let files = files(&"ferry".parse().unwrap(), &NAME.parse().unwrap());
        let manifest = &files.iter().find(|file| file.path == "app.yaml").unwrap().text;
        assert!(manifest.contains("namespace: project-name #"), "{manifest}");
    }

    /// Blocks of code on a page that say of which file they are (` ```rust gateway/src/lib.rs`), without their indentation.
    fn quoted(page: &str) -> Vec<(&str, String)> {
        let mut found = Vec::new();
        for block in page.split("\n```").skip(1).step_by(2) {
            let (head, code) = block.split_once('\n').unwrap();
            if let Some((_, path)) = head.split_once(' ') {
                found.push((path, format!("{code}\n")));
            }
        }
        found
    }

    #[test]
    fn the_pages_show_the_code_that_is_written() {
        let files = files(&"hello".parse().unwrap(), &Namespace::default());
        let page = include_str!("../../../docs/two-component.md");
        let quoted = quoted(page);
        assert!(quoted.len() >= 10, "{quoted:?}");
        for (path, code) in quoted {
            let file = files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no file {path}"));
            assert!(file.text.contains(&code), "{path} does not have the lines of docs/two-component.md:\n{code}");
        }
        for step in steps(&"hello".parse().unwrap()) {
            assert!(include_str!("../../../docs/quickstart.md").contains(&step), "docs/quickstart.md: {step}");
        }
    }
}
