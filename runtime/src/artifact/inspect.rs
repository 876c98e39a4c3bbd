//! What a component asks for and offers, read from its bytes. Nothing is compiled and nothing is run.

use roadstead_config::InterfaceName;
use wasmparser::{Encoding, Parser, Payload};

use crate::grant::is_base;

/// Imports and exports that are read of a component.
const NAMES_MAX: usize = 10_000;

/// What a component says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// The names of its imports, in their order.
    pub imports: Vec<String>,
    /// The names of its exports, in their order.
    pub exports: Vec<String>,
}

/// An interface that the manifest of a workload with the component must list in `hostInterfaces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    pub namespace: String,
    pub package: String,
    pub version: Option<String>,
    pub interfaces: Vec<String>,
}

impl Inspected {
    /// Reads a component; what it is instead, where it is none.
    ///
    /// # Errors
    /// When the bytes are not a component.
    pub fn of(bytes: &[u8]) -> Result<Self, String> {
        let mut found = Self::default();
        // What is inside of the component has imports and exports of its own.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| format!("something that is no WebAssembly: {}", error.message()))?;
            match payload {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err("a core module; turn it into a component with `wasm-tools component new`".into());
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        found.import(import.map_err(|error| error.message().to_owned())?.name.name)?;
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        found.export(export.map_err(|error| error.message().to_owned())?.name.name)?;
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn import(&mut self, name: &str) -> Result<(), String> {
        self.has_room()?;
        self.imports.push(name.to_owned());
        Ok(())
    }

    fn export(&mut self, name: &str) -> Result<(), String> {
        self.has_room()?;
        self.exports.push(name.to_owned());
        Ok(())
    }

    fn has_room(&self) -> Result<(), String> {
        match self.imports.len() + self.exports.len() < NAMES_MAX {
            true => Ok(()),
            false => Err(format!("a component with more than {NAMES_MAX} imports and exports")),
        }
    }

    /// What a manifest must declare: imports beyond the base that every component has, one entry for a package with its
    /// version.
    pub fn to_declare(&self) -> Vec<Declaration> {
        let mut declarations: Vec<Declaration> = Vec::new();
        let named = self.imports.iter().filter_map(|name| name.parse::<InterfaceName>().ok());
        for name in named.filter(|name| !is_base(name)) {
            let version = name.version.as_ref().map(ToString::to_string);
            let (namespace, package) = (name.package.namespace().to_owned(), name.package.package().to_owned());
            let same = |other: &&mut Declaration| {
                (&other.namespace, &other.package, &other.version) == (&namespace, &package, &version)
            };
            match declarations.iter_mut().find(same) {
                Some(declaration) => declaration.interfaces.push(name.interface.to_string()),
                None => {
                    let interfaces = vec![name.interface.to_string()];
                    declarations.push(Declaration { namespace, package, version, interfaces });
                }
            }
        }
        declarations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_says_what_it_needs() {
        let component = wat::parse_str(
            r#"(component
                (import "wasi:io/error@0.2.0" (instance))
                (import "wasmcloud:messaging/types@0.2.0" (instance))
                (import "wasmcloud:messaging/consumer@0.2.0" (instance $c))
                (component (import "inner:thing/x" (instance)))
                (core module (import "a" "b" (func)))
                (export "wasi:http/incoming-handler@0.2.0" (instance $c)))"#,
        )
        .unwrap();
        let found = Inspected::of(&component).unwrap();
        assert_eq!(found.imports.len(), 3, "{found:?}");
        assert_eq!(found.exports, ["wasi:http/incoming-handler@0.2.0"]);
        let declared = found.to_declare();
        assert_eq!(declared.len(), 1);
        assert_eq!((declared[0].package.as_str(), declared[0].version.as_deref()), ("messaging", Some("0.2.0")));
        assert_eq!(declared[0].interfaces, ["types", "consumer"]);
    }

    #[test]
    fn what_is_no_component_says_so() {
        assert!(Inspected::of(&wat::parse_str("(module)").unwrap()).unwrap_err().contains("core module"));
        assert!(Inspected::of(b"text").unwrap_err().contains("no WebAssembly"));
        let many = |count: usize| {
            let imports: String = (0..count).map(|n| format!("(import \"a:b/c{n}\" (instance))")).collect();
            Inspected::of(&wat::parse_str(format!("(component {imports})")).unwrap())
        };
        assert!(many(NAMES_MAX).is_ok());
        assert!(many(NAMES_MAX + 1).is_err());
    }
}
