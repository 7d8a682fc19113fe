//! Commands as a user types them, pipes included.

use std::io::{Read, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a command said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// The line that was typed.
    pub line: String,
    /// Whether it succeeded.
    pub ok: bool,
    /// Standard output of the last command.
    pub out: String,
    /// Standard error of all of them.
    pub err: String,
}

impl Said {
    /// It succeeded; what it printed.
    #[track_caller]
    pub fn out(self) -> String {
        assert!(self.ok, "$ {}\n{}{}", self.line, self.out, self.err);
        self.out
    }

    /// It failed, and what it said has all of `words`.
    #[track_caller]
    pub fn fails_with(self, words: &[&str]) {
        assert!(!self.ok, "succeeded: $ {}\n{}", self.line, self.out);
        let said = self.words();
        for word in words {
            assert!(said.contains(word), "no {word:?}: $ {}\n{said}", self.line);
        }
    }

    /// Everything it said.
    pub fn words(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Splits a line into the commands of its pipe and their words. Quotes are `'`.
pub fn parse(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quoted, mut started) = (String::new(), false, false);
    for character in line.chars().chain([' ']) {
        match character {
            '\'' => {
                quoted = !quoted;
                started = true;
            }
            c if c.is_whitespace() && !quoted => {
                if std::mem::take(&mut started) {
                    let word = std::mem::take(&mut word);
                    match word.as_str() {
                        "|" => commands.push(Vec::new()),
                        _ => commands.last_mut().unwrap().push(word),
                    }
                }
            }
            c => {
                word.push(c);
                started = true;
            }
        }
    }
    assert!(!quoted, "no end of a quotation: {line}");
    commands
}

/// Runs a command with this input; it is killed when it takes too long.
pub fn run(mut command: Command, input: &str, patience: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    let mut stdin = child.stdin.take().unwrap();
    let [out, err]: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    let deadline = Instant::now() + patience;
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        let out = scope.spawn(|| read(out));
        let err = scope.spawn(|| read(err));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Output {
            status,
            stdout: out.join().unwrap(),
            stderr: err.join().unwrap(),
        }
    })
}

fn read(mut from: Box<dyn Read + Send>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _cut_short = from.read_to_end(&mut bytes);
    bytes
}
