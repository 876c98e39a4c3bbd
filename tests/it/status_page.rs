//! The status page in a real browser: what it shows, by mouse and by keyboard, wide and narrow, light and dark; and that it
//! asks nobody but its host.

use std::{fs, path::Path};

use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    browser::Browser,
    eventually,
    host::{Host, Options},
    manifest::{trigger, worker},
};

const DETECT: &str = r#"{"region":"singapore","sar_width":256,"sar_height":256,"num_targets":0,"seed":42,"density":0.5,"force_cpu":true}"#;

/// A subject that a component may name, as somebody writes it who would like to be markup.
const HOSTILE: &str = "x<img/src=x/onerror=alert(1)";

/// Harbor Watch, a gateway that fails when it is asked to, and a workload whose component is not there.
fn start() -> Host {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/harbor-watch");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("components")).unwrap();
    for component in fs::read_dir(example.join("components")).expect("build the components with `cargo xtask guests`") {
        let component = component.unwrap();
        fs::copy(component.path(), folder.path().join("components").join(component.file_name())).unwrap();
    }
    let own = trigger("probe", "probe.test", "probe-gateway").yaml()
        + &worker("broken", "probe.broken", &["poolSize: 1"])
            .replace("file:probe-worker.wasm", "'file:made-<b>bold<b>.wasm'");
    let manifest = fs::read_to_string(example.join("app.yaml")).unwrap() + "\n---\n" + &own;
    crate::harness::host::write_application(folder.path(), &own);
    fs::write(folder.path().join("app.yaml"), manifest).unwrap();
    Host::start_in(folder, Options::default().flag("--limit", "timelines_per_second_max=1000"))
}

async fn requests(host: &Host) {
    let harbor = host.client("harborwatch.localhost");
    for _ in 0..3 {
        let detected = harbor.post("/api/detect").header("content-type", "application/json").body(DETECT).send().await;
        assert_eq!(detected.status, StatusCode::OK, "{}", detected.text());
    }
    let probe = host.client("probe.test");
    let secret = "/request?subject=".to_owned() + &urlencoding(HOSTILE) + "&password=swordfish";
    probe.get(&secret).header("authorization", "Bearer swordfish").send().await;
    assert_eq!(probe.get("/trap").send().await.status, StatusCode::BAD_GATEWAY);
}

fn urlencoding(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A page that shows the host's requests.
async fn open(host: &Host) -> Browser {
    let mut browser = Browser::start().await;
    browser.look(1280, 900, "light").await;
    browser.open(&format!("http://{}/", host.admin_address())).await;
    browser.until("document.querySelectorAll('#triggers tbody tr').length === 2").await;
    browser
}

/// Where pictures go: into the folder that a variable names, where somebody wants to look at them.
fn pictures() -> (std::path::PathBuf, Option<tempfile::TempDir>) {
    match std::env::var_os("ROADSTEAD_TEST_PICTURES") {
        Some(folder) => (folder.into(), None),
        None => {
            let folder = tempfile::tempdir().unwrap();
            (folder.path().to_owned(), Some(folder))
        }
    }
}

#[tokio::test]
async fn the_page_shows_what_a_host_does() {
    let host = start();
    requests(&host).await;
    let mut browser = open(&host).await;
    // Lines need two looks, between which there are requests.
    browser.until("document.querySelector('#latency svg .grid') !== null").await;
    requests(&host).await;
    browser.until("/[ML]/.test(document.querySelector('#latency path[data-line=p95]')?.getAttribute('d') ?? '')").await;
    browser.until("/L/.test(document.querySelector('#rate path[data-line=requests]')?.getAttribute('d') ?? '')").await;
    browser.until("/L/.test(document.querySelector('#occupancy path[data-line=size]')?.getAttribute('d') ?? '')").await;

    let text = browser.value("document.body.innerText").await;
    let text = text.as_str().unwrap();
    for shown in ["harbor-watch-gateway", "harborwatch.localhost", "Running", "harbor-watch-sar-processor", "Free"] {
        assert!(text.contains(shown), "no {shown:?} in {text}");
    }
    // What is hostile is text, and what may be a secret is not there.
    assert!(text.contains("<b>bold<b>"), "{text}");
    assert!(!text.contains("swordfish") && !text.contains("/api/detect"), "{text}");
    assert_eq!(browser.value("document.querySelectorAll('main b, main img, main script').length").await, 0);
    browser.until("/502 trap/.test(document.getElementById('faults').innerText)").await;

    names_and_contrast(&mut browser).await;
    // What is not seen, or turns text around, is written out; a percentile lies in its bucket as far as its part.
    let written = "import('/page/dom.js').then((page) => page.plain('a\\u202eb\\u0007<i>'))";
    assert_eq!(browser.value(written).await, r"a\u{202e}b\u{7}<i>");
    let reckoned =
        "import('/page/history.js').then((page) => [0.5, 0.8].map((part) => page.percentile([6, 0, 4], part)))";
    let [median, late] = browser.value(reckoned).await.as_array().unwrap().clone().try_into().unwrap();
    assert!((median.as_f64().unwrap() - 416.7).abs() < 0.1 && (late.as_f64().unwrap() - 1_750.0).abs() < 0.1);
    let (folder, _kept) = pictures();
    for (width, height) in [(360, 740), (1280, 900), (1600, 1000)] {
        for scheme in ["light", "dark"] {
            browser.look(width, height, scheme).await;
            let wide =
                format!("document.documentElement.scrollWidth <= {width} && document.querySelector('#rate svg')");
            browser.until(&format!("Boolean({wide})")).await;
            browser.picture(&folder.join(format!("page-{width}-{scheme}.png"))).await;
        }
    }
    assert_eq!(browser.complaints(), [""; 0]);
    let own = format!("http://{}/", host.admin_address());
    let elsewhere: Vec<String> = browser
        .asked()
        .into_iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("data:,") && url != "about:blank")
        .collect();
    assert_eq!(elsewhere, [""; 0]);

    // A host that hangs or is gone is told of, and found again without a touch once it is there.
    let says = "/does not answer since/.test(document.getElementById('gone').innerText)";
    let no_answer = format!("{says} && document.getElementById('readiness').innerText === 'No answer'");
    host.signal(Signal::STOP);
    browser.until(&no_answer).await;
    host.signal(Signal::CONT);
    browser
        .until("document.getElementById('gone').hidden && document.getElementById('readiness').innerText === 'Ready'")
        .await;
    drop(host);
    browser.until(&no_answer).await;
}

/// Everything that can be used has a name, every table too, and text can be told from its ground.
async fn names_and_contrast(browser: &mut Browser) {
    browser.call("Accessibility.enable", json!({})).await;
    let tree = browser.call("Accessibility.getFullAXTree", json!({})).await;
    let used =
        ["button", "link", "textbox", "searchbox", "combobox", "radio", "table", "image", "img", "region", "group"];
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if used.contains(&role) && node["ignored"] != json!(true) {
            assert!(node["name"]["value"].as_str().is_some_and(|name| !name.is_empty()), "without a name: {node}");
        }
    }
    browser.call("Accessibility.disable", json!({})).await;
    for scheme in ["light", "dark"] {
        browser.look(1280, 900, scheme).await;
        let ratios = browser.value(CONTRASTS).await;
        for (pair, ratio) in ratios.as_object().unwrap() {
            assert!(ratio.as_f64().unwrap() >= 4.5, "{scheme}: {pair} {ratio}");
        }
    }
}

/// The contrast of each colour of text with each ground, as WCAG 2 reckons it.
const CONTRASTS: &str = r##"(() => {
  const part = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = (hex) => [1, 3, 5].map((at) => part(parseInt(hex.slice(at, at + 2), 16) / 255))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const style = getComputedStyle(document.documentElement);
  const ratios = {};
  for (const ground of ["ground", "panel"]) {
    for (const ink of ["ink", "quiet", "accent", "bad", "warn"]) {
      const [a, b] = [ground, ink].map((name) => light(style.getPropertyValue("--" + name).trim()));
      ratios[ink + " on " + ground] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }
  }
  return ratios;
})()"##;

#[tokio::test]
async fn a_requests_timeline_is_reached_by_mouse_and_by_keyboard() {
    let host = start();
    requests(&host).await;
    let mut browser = open(&host).await;
    let of = "[...document.querySelectorAll('#requests tbody tr')]";
    browser.until(&format!("{of}.some((row) => row.innerText.includes('harbor-watch-gateway'))")).await;
    let button = format!("{of}.find((row) => row.innerText.includes('harbor-watch-gateway')).querySelector('button')");
    let id = browser.value(&format!("{button}.dataset.key")).await.as_str().unwrap().to_owned();

    let selector = format!("#requests button[data-key='{id}']");
    browser.click(&selector).await;
    let is_open = "document.activeElement.id === 'timeline-title' && !document.getElementById('timeline').hidden";
    browser.until(is_open).await;
    // Spans of the gateway, and of the worker on the same host, that it asked.
    browser.until("/call api-gateway/.test(document.getElementById('timeline-table').innerText)").await;
    let shown = browser.value("document.getElementById('timeline').innerText").await;
    let shown = shown.as_str().unwrap();
    for span in ["POST harbor-watch-gateway", "start instance", "send tasks.sar-processor", "wait for instance"] {
        assert!(shown.contains(span), "no {span:?} in {shown}");
    }
    assert!(browser.value("document.querySelectorAll('#timeline-table .bar rect').length > 6").await == json!(true));
    let (folder, _kept) = pictures();
    for (width, scheme) in [(1280, "light"), (360, "dark")] {
        browser.look(width, 900, scheme).await;
        browser.until(&format!("document.documentElement.scrollWidth <= {width}")).await;
        browser.picture(&folder.join(format!("timeline-{width}-{scheme}.png"))).await;
    }
    browser.look(1280, 900, "light").await;

    // On by the keyboard: to the button that closes, and the focus is where it came from.
    browser.press("Tab").await;
    browser.until("document.activeElement.id === 'timeline-close'").await;
    browser.press("Enter").await;
    browser
        .until(&format!("document.getElementById('timeline').hidden && document.activeElement.dataset.key === '{id}'"))
        .await;
    assert_eq!(browser.value("getComputedStyle(document.activeElement).outlineStyle").await, "solid");
    browser.press("Enter").await;
    browser.until(is_open).await;
    // What is not kept is told as such.
    browser.value("location.hash = 'request=999999'").await;
    browser.until("/no longer kept/.test(document.getElementById('timeline-note').innerText)").await;
    // 404 is what it was told; nothing else went wrong.
    let complaints: Vec<String> =
        browser.complaints().into_iter().filter(|complaint| !complaint.contains("v1/requests/999999")).collect();
    assert_eq!(complaints, [""; 0]);

    everything_is_reached_by_the_keyboard(&mut browser).await;
    // The hostile name of a subject is a text among others.
    let probe = host.admin("/v1/requests?trigger=probe").await.json();
    let asked =
        probe["requests"].as_array().unwrap().iter().find(|request| request["spans"].as_u64() > Some(4)).unwrap();
    browser.value(&format!("location.hash = 'request={}'", asked["id"])).await;
    browser.until(&format!("document.getElementById('timeline-table').innerText.includes('send {HOSTILE}')")).await;
    assert_eq!(browser.value("document.querySelectorAll('main img').length").await, 0);
}

/// With `Tab` alone the focus comes to all that can be used, in the order in which it is seen.
async fn everything_is_reached_by_the_keyboard(browser: &mut Browser) {
    browser.value("location.hash = ''").await;
    browser.until("document.getElementById('timeline').hidden").await;
    browser.value("document.activeElement.blur()").await;
    browser.value("document.getElementById('pause').focus()").await;
    let mut reached = Vec::new();
    for _ in 0..40 {
        browser.press("Tab").await;
        let of = "((e) => e.id || e.name || (e.dataset.key && e.closest('.scroll').id) || e.tagName)(document.activeElement)";
        let now = browser.value(of).await.as_str().unwrap().to_owned();
        if reached.last() != Some(&now) {
            reached.push(now);
        }
    }
    let places: Vec<usize> = ["of-trigger", "requests", "filter", "triggers"]
        .map(|wanted| {
            reached.iter().position(|place| place == wanted).unwrap_or_else(|| panic!("no {wanted} in {reached:?}"))
        })
        .to_vec();
    assert!(places.is_sorted(), "{reached:?}");
}

#[tokio::test]
async fn a_token_is_asked_for_and_kept_in_its_tab() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let manifest = trigger("probe", "probe.test", "probe-gateway").yaml();
    crate::harness::host::write_application(folder.path(), &manifest);
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let host = Host::start_in(folder, Options::default().flag("--admin-token-file", file.to_str().unwrap()));
    let mut browser = Browser::start().await;
    browser.look(1280, 900, "light").await;
    browser.open(&format!("http://{}/", host.admin_address())).await;
    browser.until("document.activeElement.id === 'token-text' && document.getElementById('main').hidden").await;
    assert!(!browser.value("document.body.innerText").await.as_str().unwrap().contains("probe"));
    browser.write("not-the-token-of-this-host").await;
    browser.press("Enter").await;
    browser.until("/does not know this token/.test(document.getElementById('token-wrong').innerText)").await;
    let (pictures, _kept) = pictures();
    browser.picture(&pictures.join("token-1280-light.png")).await;
    browser.write(TOKEN).await;
    browser.press("Enter").await;
    browser.until("document.querySelectorAll('#triggers tbody tr').length === 1").await;
    assert_eq!(browser.value("document.getElementById('token').hidden").await, true);
    let kept = browser.value("[sessionStorage.length, localStorage.length, document.cookie]").await;
    assert_eq!(kept, json!([1, 0, ""]));
    assert!(!browser.asked().iter().any(|url| url.contains(TOKEN)));
    browser.click("#forget").await;
    browser.until("!document.getElementById('token').hidden && sessionStorage.length === 0").await;
}

#[tokio::test]
async fn the_host_remembers_requests_without_what_they_said() {
    let host = Host::start_with(
        &trigger("probe", "probe.test", "probe-gateway").yaml(),
        Options::default()
            .flag("--limit", "slow_request_ms=0")
            .flag("--limit", "requests_kept_max=3")
            .flag("--limit", "timelines_per_second_max=1000"),
    );
    let client = host.client("probe.test");
    for _ in 0..8 {
        let asked = client.post("/headers/secret-path?key=swordfish").header("cookie", "swordfish").body("swordfish");
        asked.send().await;
    }
    let listed = eventually("three requests are kept", async || {
        let listed = host.admin("/v1/requests").await;
        (listed.json()["requests"].as_array().unwrap().len() == 3).then_some(listed)
    })
    .await;
    assert!(!listed.text().contains("swordfish") && !listed.text().contains("secret-path"), "{}", listed.text());
    let requests = listed.json()["requests"].clone();
    assert_eq!((requests[0]["path"].as_str(), requests[0]["is_slow"].as_bool()), (Some("/"), Some(true)));
    let with = requests.as_array().unwrap().iter().find(|request| request["spans"] != json!(0)).unwrap();
    let timeline = host.admin(&format!("/v1/requests/{}", with["id"])).await;
    assert!(timeline.text().contains("call probe-gateway") && !timeline.text().contains("swordfish"));
    assert_eq!(host.admin("/v1/requests/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(host.admin("/v1/requests/x%00").await.status, StatusCode::NOT_FOUND);
    let live = host.admin("/v1/live").await.json();
    assert_eq!(live["triggers"][0]["name"], "probe");
    assert!(live["total"]["classes"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>() >= 8, "{live}");

    let none = Host::start_with(
        &trigger("probe", "probe.test", "probe-gateway").yaml(),
        Options::default().flag("--limit", "timelines_per_second_max=0"),
    );
    none.client("probe.test").get("/headers").send().await;
    assert_eq!(none.admin("/v1/requests").await.json(), json!({"keeps": false, "requests": []}));
}
