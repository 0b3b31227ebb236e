//! The parent's side of `dflow bench-one`: starts the process of one configuration and requests its rounds.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use detailflow::Error;

use super::round::{Message, Opened, Round};
use crate::Failure;

/// A running `dflow bench-one`; dropping this ends it.
pub struct Process {
    name: String,
    child: Child,
    /// None once the process is asked to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub opened: Opened,
}

impl Process {
    /// Starts this program with `arguments` and waits until the model is open.
    pub fn start(arguments: &[OsString], name: String) -> Result<Self, Failure> {
        let failed = |source| {
            let path = std::env::current_exe().unwrap_or_default();
            Failure::Failed(Error::Io { what: "cannot start", path, source })
        };
        let mut child = std::env::current_exe()
            .and_then(|program| {
                Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
            })
            .map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("stdout is piped"));
        let mut process = Self { name, child, input, output: BufReader::new(output), opened: Opened::default() };
        match process.receive()? {
            Message::Opened(opened) => process.opened = opened,
            _ => return Err(process.ended()),
        }
        Ok(process)
    }

    /// One batch of pictures, not measured.
    pub fn warm_up(&mut self) -> Result<(), Failure> {
        match self.ask("warm-up")? {
            Message::WarmedUp => Ok(()),
            _ => Err(self.ended()),
        }
    }

    /// One round, measured.
    pub fn round(&mut self) -> Result<Round, Failure> {
        match self.ask("round")? {
            Message::Round(round) => Ok(round),
            _ => Err(self.ended()),
        }
    }

    fn ask(&mut self, word: &str) -> Result<Message, Failure> {
        // If the process has ended, its last message says why.
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{word}");
        }
        self.receive()
    }

    fn receive(&mut self) -> Result<Message, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line).is_err() || line.is_empty() {
            return Err(self.ended());
        }
        match serde_json::from_str(&line) {
            Ok(Message::Failed { text, usage: true }) => {
                Err(Failure::Usage(Error::Invalid(format!("{}: {text}", self.name))))
            }
            Ok(Message::Failed { text, usage: false }) => {
                Err(Failure::Failed(Error::Invalid(format!("{}: {text}", self.name))))
            }
            Ok(message) => Ok(message),
            Err(_) => Err(self.ended()),
        }
    }

    /// The error for a process that ended or sent an unknown message.
    fn ended(&mut self) -> Failure {
        self.end();
        let how = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let text = format!("{}: its process ended ({how}); it may have run out of memory", self.name);
        Failure::Failed(Error::Invalid(text))
    }

    fn end(&mut self) {
        self.input = None;
        // It may be in the middle of a round whose result is no longer needed.
        let _ = self.child.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}
