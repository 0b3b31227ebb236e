//! The processes that take turns: each opens one configuration, and does a round when it is told to.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use detailflow::Error;

use super::round::{Message, Opened, Round};
use crate::Failure;

/// A `dflow bench-one` that runs. It ends when this goes.
pub struct Process {
    name: String,
    child: Child,
    /// None when it is to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub opened: Opened,
}

impl Process {
    /// Starts this program with other arguments, and waits until its model is open.
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
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("its output was asked for"));
        let mut process = Self { name, child, input, output: BufReader::new(output), opened: Opened::default() };
        match process.hear()? {
            Message::Opened(opened) => process.opened = opened,
            _ => return Err(process.gone()),
        }
        Ok(process)
    }

    /// One batch of pictures, not measured.
    pub fn draw(&mut self) -> Result<(), Failure> {
        match self.ask("draw")? {
            Message::SampledToken => Ok(()),
            _ => Err(self.gone()),
        }
    }

    /// One round, measured.
    pub fn round(&mut self) -> Result<Round, Failure> {
        match self.ask("round")? {
            Message::Round(round) => Ok(round),
            _ => Err(self.gone()),
        }
    }

    fn ask(&mut self, word: &str) -> Result<Message, Failure> {
        // When it is gone already, what it said before is what there is to tell.
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{word}");
        }
        self.hear()
    }

    fn hear(&mut self) -> Result<Message, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line).is_err() || line.is_empty() {
            return Err(self.gone());
        }
        match serde_json::from_str(&line) {
            Ok(Message::Failed { text, usage: true }) => {
                Err(Failure::Usage(Error::Invalid(format!("{}: {text}", self.name))))
            }
            Ok(Message::Failed { text, usage: false }) => {
                Err(Failure::Failed(Error::Invalid(format!("{}: {text}", self.name))))
            }
            Ok(message) => Ok(message),
            Err(_) => Err(self.gone()),
        }
    }

    /// It ended without a word, or said what makes no sense.
    fn gone(&mut self) -> Failure {
        self.end();
        let how = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let text = format!("{}: its process ended ({how}); it may have taken more memory than there is", self.name);
        Failure::Failed(Error::Invalid(text))
    }

    fn end(&mut self) {
        self.input = None;
        // It may be in the middle of a round that nobody waits for any more.
        let _ = self.child.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}
