//! A further process in a running container, and its conversation with a client. It ends with the
//! client.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::agent::Agent;
use super::super::process::{self, Exit, Launch, Process};
use super::terminal::{self, Terminal};
use super::websocket::piece;
use super::{Asked, Heard, Said, Talk, exited, failure, success};

const PIECE: usize = 32 * 1024;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A started process.
struct Session {
    process: Process,
    input: Option<Writer>,
    output: Option<Reader>,
    error: Option<Reader>,
    terminal: Option<Terminal>,
}

/// Runs what was asked for beside the process `pid`, until it ends or the client leaves.
pub(super) async fn run(agent: &Agent, asked: &Asked, pid: i32, talk: Talk) {
    let Talk { heard, say } = talk;
    let status = match start(agent, asked, pid) {
        Ok(session) => converse(session, heard, &say).await,
        Err(error) => Some(failure(&format!(
            "cannot run {:?}: {error}",
            asked.command[0]
        ))),
    };
    if let Some(status) = status {
        let _client_gone = say.send(Said::Status(status)).await;
    }
}

fn start(agent: &Agent, asked: &Asked, pid: i32) -> io::Result<Session> {
    let mut launch = launch(agent, asked, pid)?;
    if asked.terminal {
        let (terminal, stdio) = terminal::open()?;
        terminal::own(&mut launch);
        let (process, _child) = process::converse(&launch, stdio)?;
        let (output, input) = terminal.ends()?;
        return Ok(Session {
            process,
            input: asked.input.then(|| Box::new(input) as Writer),
            output: Some(Box::new(output)),
            error: None,
            terminal: Some(terminal),
        });
    }
    let piped = |wanted: bool| {
        if wanted {
            Stdio::piped()
        } else {
            Stdio::null()
        }
    };
    let stdio = [piped(asked.input), piped(asked.output), piped(asked.error)];
    let (process, mut child) = process::converse(&launch, stdio)?;
    let input = child.stdin.take().map(ChildStdin::from_std).transpose()?;
    let output = child.stdout.take().map(ChildStdout::from_std).transpose()?;
    let error = child.stderr.take().map(ChildStderr::from_std).transpose()?;
    Ok(Session {
        process,
        input: input.map(|pipe| Box::new(pipe) as Writer),
        output: output.map(|pipe| Box::new(pipe) as Reader),
        error: error.map(|pipe| Box::new(pipe) as Reader),
        terminal: None,
    })
}

/// The container's own variables and folder, the client's words.
fn launch(agent: &Agent, asked: &Asked, pid: i32) -> io::Result<Launch> {
    let beside = process::beside(pid)?;
    let mut launch = process::surroundings(pid);
    launch.room = agent.network.beside(&beside);
    let path = launch.env.get("PATH").cloned().unwrap_or_default();
    launch.program = agent.program(&asked.command[0], &path);
    launch.called = Some(asked.command[0].clone());
    launch.args = asked.command[1..].to_vec();
    Ok(launch)
}

/// `None` if the client left before the end.
async fn converse(
    session: Session,
    heard: mpsc::Receiver<Heard>,
    say: &mpsc::Sender<Said>,
) -> Option<serde_json::Value> {
    let Session {
        process,
        input,
        output,
        error,
        terminal,
    } = session;
    let mut pumps = JoinSet::new();
    if let Some(output) = output {
        pumps.spawn(pump(output, say.clone(), Said::Output));
    }
    if let Some(error) = error {
        pumps.spawn(pump(error, say.clone(), Said::Error));
    }
    let exit = tokio::select! {
        exit = process.exited() => exit,
        () = listen(heard, input, terminal.as_ref()) => {
            process.kill();
            process.exited().await;
            return None;
        }
    };
    // A terminal is read to its end only once nobody holds it any more.
    while pumps.join_next().await.is_some() {}
    Some(match exit {
        Exit::Code(0) => success(),
        Exit::Code(code) => exited(code),
        Exit::Signal(signal) => exited(128 + signal),
        Exit::Unknown => failure("the process ended in an unknown way"),
    })
}

/// Passes on what the client says; returns when it is gone.
async fn listen(
    mut heard: mpsc::Receiver<Heard>,
    mut input: Option<Writer>,
    terminal: Option<&Terminal>,
) {
    while let Some(heard) = heard.recv().await {
        match heard {
            Heard::Input(bytes) => {
                let Some(writer) = &mut input else { continue };
                let written = async {
                    writer.write_all(&bytes).await?;
                    writer.flush().await
                };
                if written.await.is_err() {
                    input = None; // it does not listen any more
                }
            }
            Heard::InputEnded => input = None,
            Heard::Resized { columns, rows } => {
                if let Some(terminal) = terminal {
                    terminal.resize(columns, rows);
                }
            }
        }
    }
}

async fn pump(mut from: Reader, say: mpsc::Sender<Said>, said: fn(bytes::Bytes) -> Said) {
    let mut buffer = vec![0; PIECE];
    while let Some(bytes) = piece(from.read(&mut buffer).await, &buffer) {
        if say.send(said(bytes)).await.is_err() {
            return;
        }
    }
}
