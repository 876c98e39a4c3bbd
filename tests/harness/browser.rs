//! A real browser without a window: Chromium, told what to do over the pipe of its DevTools protocol. It knows no page.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Longest wait for anything in a browser: it takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What it is started with: no other process than needed, nobody whom it asks by itself, no machine but this one.
const FLAGS: [&str; 18] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-zygote",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-domain-reliability",
    "--disable-features=Translate,OptimizationHints,MediaRouter,AutofillServerCommunication",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
];

/// A browser with one page.
pub struct Browser {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    sent: u64,
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one, with an empty page.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // It reads from its third stream and writes to its fourth, which a shell can give it.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec chromium \"$@\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"]).args(FLAGS);
        shell.arg(format!("--user-data-dir={}", profile.path().display()));
        shell.env("HOME", profile.path()).env_remove("DISPLAY").env_remove("DBUS_SESSION_BUS_ADDRESS");
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = shell.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (session, events) = (None, Vec::new());
        let mut browser = Self { _child: child, to, from, session, sent: 0, events, _profile: profile };
        let made = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let target = json!({"targetId": made["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target).await;
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Has it do something, and returns what it says.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let id = self.sent;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let gone = "Chromium does not run; `cargo xtask setup` installs it (`apt-get install chromium`)";
        self.to.write_all(&bytes).await.expect(gone);
        loop {
            let mut read = Vec::new();
            let bytes = timeout(PATIENCE, self.from.read_until(0, &mut read)).await.expect("the browser is silent");
            assert!(bytes.expect(gone) > 0, "{gone}");
            let message: Value = serde_json::from_slice(read.strip_suffix(b"\0").unwrap()).unwrap();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method} {parameters}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Opens an address.
    pub async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url})).await;
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.until(&format!("document.readyState === 'complete' && location.href === {url:?}")).await;
    }

    /// The value of an expression in the page.
    pub async fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let told = self.call("Runtime.evaluate", parameters).await;
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.value(expression).await != json!(true) {
            if begun.elapsed() > PATIENCE {
                let shown = self.value("document.body.innerText").await;
                panic!("waited in vain for {expression}; the page shows {shown}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses a key: `Tab`, `Enter`, `Space`, `ArrowRight`.
    pub async fn press(&mut self, key: &str) {
        let (key, code, number, text) = match key {
            "Tab" => ("Tab", "Tab", 9, ""),
            "Enter" => ("Enter", "Enter", 13, "\r"),
            "Space" => (" ", "Space", 32, " "),
            "ArrowRight" => ("ArrowRight", "ArrowRight", 39, ""),
            other => panic!("which key is {other}?"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Writes where the focus is.
    pub async fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Clicks what a selector finds, in its middle.
    pub async fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const found = document.querySelector({selector:?}); found.scrollIntoView({{block: 'center'}}); \
             const r = found.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let place = self.value(&place).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// The size of the page in pixels, and whether it is light or dark.
    pub async fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Has a picture of the whole page in a file.
    pub async fn picture(&mut self, path: &Path) {
        let taken = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true})).await;
        fs::write(path, STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// What it has complained of so far: exceptions, errors and warnings of the console, what a policy forbade.
    pub fn complaints(&self) -> Vec<String> {
        let complains = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Log.entryAdded" => true,
            "Runtime.consoleAPICalled" => {
                matches!(event["params"]["type"].as_str(), Some("error" | "warning" | "assert"))
            }
            _ => false,
        };
        self.events.iter().filter(complains).map(ToString::to_string).collect()
    }

    /// All that it has asked for so far.
    pub fn asked(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }
}
