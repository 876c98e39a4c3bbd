//! A child process whose output is kept, and which ends with the test.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn start(command: Command) -> Self {
        Self::start_with_input(command, Stdio::null())
    }

    pub fn start_with_input(command: Command, input: impl Into<Stdio>) -> Self {
        Self::start_with(command, input.into(), Stdio::piped())
    }

    /// Starts with something else for the first two streams; the third is kept.
    pub fn start_with(mut command: Command, input: Stdio, output: Stdio) -> Self {
        command.stdin(input).stdout(output).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?} cannot be started ({error}); `cargo xtask setup` gets what is missing")
        });
        let lines = Arc::new(Mutex::new(Vec::new()));
        if let Some(output) = child.stdout.take() {
            collect(output, lines.clone());
        }
        collect(child.stderr.take().unwrap(), lines.clone());
        Self { child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All output so far, both streams together.
    pub fn output(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits for a line that `wanted` reads something from.
    pub fn wait_for_line<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.wait_for_line_within(PATIENCE, what, wanted)
    }

    /// The same for a line that may take longer than other things.
    pub fn wait_for_line_within<T>(&mut self, patience: Duration, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.lines.lock().unwrap().iter().find_map(|line| wanted(line)) {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                thread::sleep(Duration::from_millis(50));
                panic!("the process ended ({status}) before {what}:\n{}", self.output());
            }
            assert!(begun.elapsed() < patience, "no line about {what} within {patience:?}:\n{}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                thread::sleep(Duration::from_millis(20));
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the process does not end:\n{}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- output of the process ---\n{}", self.output());
        }
    }
}

fn collect(stream: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
}
