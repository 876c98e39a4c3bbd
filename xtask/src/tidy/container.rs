//! What the container image is made of, as docs/threat-model.md says it: the stages of the Dockerfile that are no mere
//! builders add the program, CA certificates and libraries to nothing, and run as nobody; and the build context has all
//! that the program is built from. No image is built here.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

use super::Problem;

const FILE: &str = "Dockerfile";
const CONTEXT: &str = ".dockerignore";
/// Where what both images have is put together.
const COMMON: &str = "FROM scratch AS common";
/// The image with the loader of Vulkan, and the one without, which is to be the last: it is built where nobody asks.
const GPU: &str = "FROM common AS gpu";
const LAST: &str = "FROM common AS roadstead";
/// Each of these must be in the common stage, as one instruction.
const DEMANDED: [&str; 3] = [
    "USER 65532:65532",
    "ENV PATH=/usr/local/bin ROADSTEAD_HTTP_ADDR=0.0.0.0:8080 ROADSTEAD_ADMIN_ADDR=127.0.0.1:9090",
    "HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD [\"roadstead\", \"health\"]",
];
/// All that the common stage takes from elsewhere.
const COPIED: [&str; 3] = [
    "COPY --from=root /root-of-image/ /",
    "COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
    "COPY --from=builder /out/roadstead /usr/local/bin/roadstead",
];
const COPIED_FOR_GPU: [&str; 1] = ["COPY --from=gpu-root /gpu-of-image/ /"];
/// What is unpacked to copy from.
const UNPACKED: [&str; 2] = [
    "RUN apt-get update && make-root.sh /root-of-image libc6 libgcc-s1",
    "RUN make-root.sh --beside /root-of-image /gpu-of-image ${GPU_PACKAGES}",
];
/// Instructions that add to an image, or let it run as somebody else.
const ADDING: [&str; 4] = ["ADD", "COPY", "RUN", "USER"];

/// Reads the Dockerfile and what its build context is.
///
/// # Errors
/// When one of them, or the workspace's manifest, cannot be read.
pub(super) fn check(root: &Path, problems: &mut Vec<Problem>) -> Result<()> {
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"));
    let problem = |file: &str, what| Problem { file: file.into(), line: None, what };
    problems.extend(judge(&read(FILE)?).into_iter().map(|what| problem(FILE, what)));
    let lacking = lacking(&read("Cargo.toml")?, &read(CONTEXT)?);
    problems.extend(lacking.into_iter().map(|what| problem(CONTEXT, what)));
    Ok(())
}

fn judge(text: &str) -> Vec<String> {
    let instructions = instructions(text);
    let mut problems = Vec::new();
    let mut demand = |lines: &[String], wanted: &str| {
        if !lines.iter().any(|line| line == wanted) {
            problems.push(format!("lacks `{wanted}`, which docs/threat-model.md builds on"));
        }
    };
    UNPACKED.iter().for_each(|wanted| demand(&instructions, wanted));
    DEMANDED.iter().for_each(|wanted| demand(stage(&instructions, COMMON), wanted));
    if instructions.iter().rfind(|line| line.starts_with("FROM ")).is_none_or(|line| line != LAST) {
        problems
            .push(format!("does not end with the stage `{LAST}`, the one that is built where nobody asks for another"));
    }
    for (name, allowed) in [(COMMON, [&COPIED[..], &DEMANDED]), (GPU, [&COPIED_FOR_GPU, &[]]), (LAST, [&[], &[]])] {
        let allowed: Vec<&str> = allowed.concat();
        let adds = |line: &&String| ADDING.iter().any(|word| line.split(' ').next() == Some(word));
        let more = stage(&instructions, name).iter().filter(adds).filter(|line| !allowed.contains(&line.as_str()));
        problems.extend(more.map(|line| format!("`{line}` adds to the image more than docs/threat-model.md says")));
    }
    problems
}

/// The instructions of one stage, after its first.
fn stage<'a>(instructions: &'a [String], first: &str) -> &'a [String] {
    let Some(start) = instructions.iter().position(|line| line == first) else { return &[] };
    let rest = instructions.get(start + 1..).unwrap_or_default();
    let end = rest.iter().position(|line| line.starts_with("FROM ")).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// The members of the workspace that the build context leaves out: without one of them cargo builds nothing.
fn lacking(workspace: &str, context: &str) -> Vec<String> {
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = [")).unwrap_or_default();
    let members = members.trim_end_matches(']').split(',').map(|member| member.trim().trim_matches('"'));
    let taken: Vec<&Path> = context.lines().filter_map(|line| line.strip_prefix('!')).map(Path::new).collect();
    let left_out = members.filter(|member| !taken.iter().any(|path| Path::new(member).starts_with(path)));
    left_out.map(|member| format!("leaves out {member}, a member of the workspace: add `!{member}`")).collect()
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
        let lines = |parts: &[&[&str]]| parts.concat().join("\n");
        change(format!(
            "FROM rust AS builder\nRUN make \\\n    # a comment\n    all\n{}\n{COMMON}\n{}\n{GPU}\n{}\n{LAST}\nLABEL a=b\n",
            lines(&[&UNPACKED]),
            lines(&[&COPIED, &DEMANDED]),
            lines(&[&COPIED_FOR_GPU])
        ))
    }

    #[test]
    fn an_image_that_holds_more_than_is_documented_is_found() {
        assert_eq!(judge(&file(|text| text)), [""; 0]);
        let changes: [(&str, &str, &str); 8] = [
            ("libc6 libgcc-s1", "libc6 bash", "lacks `RUN apt-get update && make-root.sh"),
            ("USER 65532:65532", "", "lacks `USER 65532:65532`"),
            ("USER 65532:65532", "USER 65532:65532\nUSER 0", "`USER 0` adds"),
            ("ADMIN_ADDR=127.0.0.1", "ADMIN_ADDR=0.0.0.0", "lacks `ENV"),
            ("USER 65532:65532", "USER 65532:65532\nRUN apt-get \\\n  install bash", "`RUN apt-get install bash` adds"),
            (
                "/out/roadstead /usr/local/bin/roadstead",
                "/bin/sh /bin/sh",
                "`COPY --from=builder /bin/sh /bin/sh` adds",
            ),
            ("LABEL a=b", "USER root", "`USER root` adds"),
            ("LABEL a=b", "FROM common AS other", "does not end with the stage"),
        ];
        for (from, to, problem) in changes {
            let found = judge(&file(|text| text.replacen(from, to, 1)));
            assert!(matches!(found.as_slice(), [one] if one.contains(problem)), "{to}: {found:?}");
        }
    }

    #[test]
    fn a_crate_that_is_not_in_the_build_context_is_found() {
        let workspace = "[workspace]\nmembers = [\"config\", \"gpu\", \"gpu/wire\"]\n";
        assert_eq!(lacking(workspace, "*\n!config\n!gpu\n"), [""; 0]);
        let found = lacking(workspace, "*\n!config\n!gpu/wire\n");
        assert!(matches!(found.as_slice(), [one] if one.contains("leaves out gpu,")), "{found:?}");
    }
}
