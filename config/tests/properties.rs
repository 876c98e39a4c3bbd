//! Hosts and paths of requests as a stranger writes them: whatever the text, no panic, and what is accepted has the one
//! form that routing compares.
//!
//! `PROPTEST_CASES=1000000 cargo test -p roadstead-config --test properties` tries other texts than usual, and more. What
//! failed once is kept in `properties.seeds` and tried first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, RngSeed},
};
use roadstead_config::{HostName, RoutePath, http};

fn config() -> ProptestConfig {
    let seeds = Box::new(FileFailurePersistence::WithSource("seeds"));
    let mut config = ProptestConfig { failure_persistence: Some(seeds), ..ProptestConfig::default() };
    if config.cases == 256 {
        // Nobody asked for a longer run: the same texts each time.
        config.cases = 4_000;
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

/// Pieces out of which paths are made that mean something.
fn path_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9._~-]{0,6}",
        2 => prop::sample::select(vec!["/", "//", "/.", "/..", "/./", "/../", "."]).prop_map(str::to_owned),
        2 => "%[0-9a-fA-F]{2}",
        1 => prop::sample::select(vec!["%2f", "%5C", "%00", "%2e", "%2E", "%", "%4", "%zz", "%25", "%+1", "\\", "?", "#", " ", "\u{e9}", "%\u{e9}"])
            .prop_map(str::to_owned),
    ];
    let made = prop::collection::vec(piece, 0..12).prop_map(|pieces| "/".to_owned() + &pieces.concat());
    prop_oneof![4 => made, 1 => any::<String>()]
}

fn host_text() -> impl Strategy<Value = String> {
    let made = prop::collection::vec("[a-zA-Z0-9_.:*\\[\\]-]{0,5}", 0..6).prop_map(|pieces| pieces.concat());
    let address = any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]"));
    let port = prop::sample::select(vec!["", ".", ":80", ":", ":99999", ":123456", ":a", "]"]);
    let whole = (prop_oneof![3 => made, 1 => address], port).prop_map(|(host, port)| host + port);
    prop_oneof![5 => whole, 1 => any::<String>()]
}

/// The escapes of a path, as they are written.
fn escapes(path: &str) -> Vec<&str> {
    path.match_indices('%').map(|(at, _)| path.get(at..at + 3).expect("an escape is cut off")).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_canonical_path_is_what_it_says(text in path_text()) {
        let Ok(path) = http::canonical_path(&text) else { return Ok(()) };
        prop_assert!(path.starts_with('/') && !path.contains("//"), "{path}");
        prop_assert!(path.len() <= text.len(), "{path}");
        prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
        for escape in escapes(&path) {
            let byte = u8::from_str_radix(&escape[1..], 16).expect("an escape is two hexadecimal digits");
            prop_assert!(escape.to_ascii_uppercase() == escape, "{path}");
            prop_assert!(!byte.is_ascii_alphanumeric() && !b"-._~/\\\0".contains(&byte), "{path}");
        }
        // Brought to its form once, it stays as it is: what the guest sees would be routed the same.
        prop_assert_eq!(http::canonical_path(&path).unwrap(), path.clone());
        if let Ok(route) = text.parse::<RoutePath>() {
            prop_assert_eq!(route.as_str(), &*path);
        }
    }

    #[test]
    fn a_path_climbs_no_higher_than_its_root(segments in prop::collection::vec(prop::sample::select(vec!["a", ".", "..", "%2e%2E", ".%2e", "", "b"]), 0..12)) {
        let text = "/".to_owned() + &segments.join("/");
        let mut depth = 0_i32;
        let mut lowest = 0;
        for segment in &segments {
            depth += match *segment {
                "a" | "b" => 1,
                ".." | "%2e%2E" | ".%2e" => -1,
                _ => 0,
            };
            lowest = lowest.min(depth);
        }
        let path = http::canonical_path(&text);
        prop_assert_eq!(path.is_ok(), lowest == 0, "{}: {:?}", text, path);
        if let Ok(path) = path {
            prop_assert_eq!(i32::try_from(http::segments(&path).count()).unwrap(), depth, "{}", text);
        }
    }

    #[test]
    fn a_host_has_one_form(text in host_text()) {
        let Ok(host) = HostName::from_authority(&text) else { return Ok(()) };
        let name = host.as_str();
        prop_assert!(!name.is_empty() && name.len() <= 253, "{name}");
        prop_assert!(!name.ends_with('.') && name.to_ascii_lowercase() == name, "{name}");
        prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/@\\?#%*".contains(&byte)), "{name}");
        prop_assert!(name.starts_with('[') == name.contains(':'), "{name}");
        prop_assert_eq!(HostName::from_authority(name), Ok(host.clone()));
        prop_assert_eq!(HostName::from_authority(&format!("{}:8080", name.to_ascii_uppercase())), Ok(host));
    }
}
