//! What a call leaves in its place for the next: nothing that a guest finds in its memory or table, and no stack as deep
//! as its own was.

use std::fs;

use futures::{StreamExt, future::join_all, stream};
use http::StatusCode;

use crate::harness::{
    components::http_component,
    host::{Host, Options, write_application},
    manifest::trigger,
};

/// Pages that an instance looks at and fills: within what the host clears by hand, and past it.
const PAGES: [u32; 3] = [1, 4, 80];
const PAGE_BYTES: u32 = 65_536;
const ROUNDS: usize = 3;

/// Traps unless its memory has only its own data, and its table nothing; then fills both. Its data lies at `offset`.
fn component(pages: u32, offset: u32) -> Vec<u8> {
    let (bytes, more) = (pages * PAGE_BYTES, pages - 1);
    let module = format!(
        r#"(module
    (memory 1 {pages})
    (data (i32.const {offset}) "OWN DATA")
    (table $table 4 900 funcref)
    (elem declare func $some)
    (func $some)
    (func (export "handle") (param i32 i32)
      (local $at i32)
      (if (i32.eq (memory.grow (i32.const {more})) (i32.const -1)) (then unreachable))
      (if (i32.eq (table.grow (ref.null func) (i32.const 896)) (i32.const -1)) (then unreachable))
      (if (i64.ne (i64.load (i32.const {offset})) (i64.const 0x41544144204e574f)) (then unreachable))
      (i64.store (i32.const {offset}) (i64.const 0))
      (loop $bytes
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $bytes (i32.lt_u (local.get $at) (i32.const {bytes}))))
      (local.set $at (i32.const 0))
      (loop $elements
        (if (i32.eqz (ref.is_null (table.get (local.get $at)))) (then unreachable))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $elements (i32.lt_u (local.get $at) (i32.const 900))))
      (memory.fill (i32.const 0) (i32.const 0xAA) (i32.const {bytes}))
      (table.fill (i32.const 0) (ref.func $some) (i32.const 900))))"#
    );
    http_component(&module)
}

#[tokio::test]
async fn an_instance_finds_nothing_that_another_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = String::new();
    let mut names = Vec::new();
    for pages in PAGES {
        for (tenant, offset) in [("left", 8), ("right", 40_000)] {
            let name = format!("{tenant}-{pages}");
            fs::write(folder.path().join(&name).with_extension("wasm"), component(pages, offset)).unwrap();
            manifest += &trigger(&name, &format!("{name}.test"), &name).namespace(tenant).yaml();
            names.push(name);
        }
    }
    write_application(folder.path(), &manifest);
    let host = Host::start_in(folder, Options::default().flag("--limit", "instances_max=1"));
    for round in 0..ROUNDS {
        for name in &names {
            let response = host.client(&format!("{name}.test")).get("/").send().await;
            // A handler that found nothing returns, and without a response.
            let found = (response.status, response.header("x-roadstead-error"));
            assert_eq!(found, (StatusCode::BAD_GATEWAY, "no-response"), "{name} in round {round}");
            host.wait_for_metric("roadstead_instances", &[], 0.0).await;
        }
    }
}

/// Calls that overlap, so that each has a stack of its own.
const OVERLAPPING: usize = 64;
/// Calls that follow, in turn on all of these stacks, and take more than 100 KiB of each.
const DEEP_CALLS: usize = 400;
const DEEP: &str = "/recurse?depth=2000";

/// Without `engine::KEEP_STACK_BYTES` each of the stacks would stay as large as it once was.
#[tokio::test]
async fn a_stack_that_was_deep_does_not_stay() {
    let host = Host::start(&trigger("probe", "probe.test", "probe-gateway").yaml());
    let client = host.client("probe.test");
    join_all((0..OVERLAPPING).map(|_| async {
        assert_eq!(client.get("/sleep?ms=1000").send().await.status, StatusCode::OK);
    }))
    .await;
    assert_eq!(client.get(DEEP).send().await.text(), "came back from 2000\n");
    let before = host.resident_bytes();
    stream::iter(0..DEEP_CALLS)
        .for_each_concurrent(4, |_| async {
            assert_eq!(client.get(DEEP).send().await.status, StatusCode::OK);
        })
        .await;
    let grown = host.resident_bytes().saturating_sub(before);
    println!("{grown} bytes more");
    assert!(grown < 6 << 20, "the host keeps {grown} bytes");
}
