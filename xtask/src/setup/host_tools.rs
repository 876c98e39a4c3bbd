//! The programs that the host's own build calls: a C compiler and make for C code in dependencies, cmake for zlib-ng.

use super::{Finding, apt};
use crate::process;

struct Tool {
    part: &'static str,
    /// Any of these will do.
    programs: &'static [&'static str],
    packages: &'static [&'static str],
}

const TOOLS: [Tool; 3] = [
    Tool { part: "C compiler", programs: &["cc", "gcc", "clang"], packages: &["gcc", "libc6-dev"] },
    Tool { part: "make", programs: &["make", "gmake"], packages: &["make"] },
    Tool { part: "cmake", programs: &["cmake"], packages: &["cmake"] },
];

/// The Debian packages of the programs that are missing.
pub(crate) fn packages() -> Vec<&'static str> {
    let missing = TOOLS.iter().filter(|tool| found(tool).is_none());
    missing.flat_map(|tool| tool.packages).copied().collect()
}

/// Each program, found or not.
pub(crate) fn find() -> Vec<Finding> {
    let finding = |tool: &Tool| match found(tool) {
        Some(path) => Finding::Present { part: tool.part, detail: path.display().to_string() },
        None => Finding::Missing { part: tool.part, remedy: format!("`{}`", apt::command_line(tool.packages)) },
    };
    TOOLS.iter().map(finding).collect()
}

fn found(tool: &Tool) -> Option<std::path::PathBuf> {
    tool.programs.iter().find_map(|program| process::on_path(program))
}
