//! Files that mean harm: one clear error, and soon.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use roadstead_config::{Limits, load};

use super::{PUBLISHED, file, lines};

/// Far more than any of these takes, on a slow machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(20);

fn only_problem(bytes: impl Into<Vec<u8>>) -> String {
    let begun = Instant::now();
    let problems = lines(&load(&[file("app.yaml", bytes)], &Limits::default()).unwrap_err());
    assert!(begun.elapsed() < PATIENCE, "took {:?}", begun.elapsed());
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

#[test]
fn aliases_that_multiply() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert_eq!(
        only_problem(bomb),
        "app.yaml:5:45: found more nodes, aliases resolved, expected at most 100000 nodes (manifest_nodes_max)"
    );
}

#[test]
fn aliases_of_a_long_text() {
    let mut bomb = format!("a: &a {}\nb:\n", "x".repeat(1 << 20));
    bomb.push_str(&"- *a\n".repeat(1000));
    assert_eq!(
        only_problem(bomb),
        "app.yaml:9:3: found more bytes of text, aliases resolved, expected at most 8388608 (manifest_bytes_max, twice)"
    );
}

#[test]
fn deep_nesting() {
    let deep = "found deeper nesting, expected at most 64 levels (manifest_depth_max)";
    assert_eq!(only_problem("- ".repeat(10_000)), format!("app.yaml:1:129: {deep}"));
    let mut block = String::new();
    for level in 0..10_000 {
        writeln!(block, "{}a:", " ".repeat(level.min(200))).unwrap();
    }
    assert_eq!(only_problem(block), format!("app.yaml:65:65: {deep}"));
    assert_eq!(only_problem(format!("{}{}", "[".repeat(100), "]".repeat(100))), format!("app.yaml:1:65: {deep}"));
}

#[test]
fn deep_json() {
    let json = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(
        only_problem(json),
        "app.yaml:1:1276: found deeper nesting, expected at most 64 levels (manifest_depth_max)"
    );
}

#[test]
fn wide_json() {
    let message = only_problem(format!("[{}1]", "1,".repeat(1_500_000)));
    assert_eq!(
        message,
        "app.yaml:1:1: found 1500002 characters of punctuation, expected no more than 100000 nodes have \
         (manifest_nodes_max), 8 each"
    );
    let message = only_problem(format!("[{}1]", "1,".repeat(200_000)));
    assert_eq!(
        message,
        "app.yaml:1:200000: found more nodes, aliases resolved, expected at most 100000 nodes (manifest_nodes_max)"
    );
}

#[test]
fn many_names_to_compare() {
    let begun = Instant::now();
    let fields = (0..49_000).fold(String::new(), |text, n| text + &format!("{{metadat{n}: 1}}, "));
    for text in [format!("[{fields}]"), fields.replace(['{', '}'], "").replace(", ", "\n")] {
        assert!(load(&[file("app.yaml", text)], &Limits::default()).is_err());
    }
    let subjects = (0..500_000).fold(String::new(), |text, n| text + &format!("{n},"));
    let messaging = PUBLISHED.replace("tasks.sar-processor", &subjects);
    let problems = lines(&load(&[file("app.yaml", messaging)], &Limits::default()).unwrap_err());
    assert!(problems[0].ends_with("; there are more than 256"), "{problems:?}");
    assert!(begun.elapsed() < PATIENCE, "took {:?}", begun.elapsed());
}

#[test]
fn too_many_bytes() {
    assert_eq!(
        only_problem(vec![b'a'; 5 << 20]),
        "app.yaml:1:1: found 5242880 bytes, expected at most 4194304 (manifest_bytes_max)"
    );
}

#[test]
fn bytes_that_are_no_text() {
    assert_eq!(
        only_problem("a: b\nc: d\0e\n"),
        "app.yaml:2:5: found a NUL character, expected text without control characters"
    );
    assert_eq!(
        only_problem(b"a: b\n\xc3\xbc: \xff\n".to_vec()),
        "app.yaml:2:4: found bytes that are not UTF-8, expected text in UTF-8; save the file as UTF-8"
    );
    let utf16: Vec<u8> = "a: b\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(only_problem(utf16).contains("found a NUL character"));
}

#[test]
fn many_problems_are_counted_after_the_first_thousand() {
    let many = (0..5_000).fold(String::new(), |text, n| text + &format!("unknown{n}: 1\n"));
    let problems = lines(&load(&[file("app.yaml", many)], &Limits::default()).unwrap_err());
    assert_eq!(problems.len(), 1_000);
    assert!(problems[999].ends_with("; and 4002 more problems in this file"), "{}", problems[999]);
}

/// xorshift64*: enough to disturb a text the same way on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }
}

#[test]
fn disturbed_manifests_never_panic() {
    let pieces: [&[u8]; 24] = [
        b"\n", b" ", b"  ", b"\t", b":", b": ", b"- ", b"? ", b"[", b"]", b"{", b"}", b",", b"&a ", b"*a", b"!!int ",
        b"|\n", b">-\n", b"\"", b"'", b"#", b"---\n", b"\xc3", b"\0",
    ];
    let mut random = Random(0x5EA_C0A57);
    for _ in 0..4_000 {
        let mut bytes = PUBLISHED.as_bytes().to_vec();
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                1 => drop(bytes.drain(at..(at + 1 + random.below(40)).min(bytes.len()))),
                2 => drop(bytes.splice(at..at, pieces[random.below(pieces.len())].iter().copied())),
                _ => {
                    let copied = bytes[at..(at + random.below(60)).min(bytes.len())].to_vec();
                    let to = random.below(bytes.len());
                    drop(bytes.splice(to..to, copied));
                }
            }
        }
        if let Err(problems) = load(&[file("app.yaml", bytes.clone())], &Limits::default()) {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(problem.span.start <= problem.span.end && problem.span.end <= bytes.len(), "{problem}");
                assert!(!problem.to_string().contains('\n'));
            }
        }
    }
}
