//! `wasi:cli`: arguments, exit and the standard streams. No environment, no terminal.

use phala_primitives::FailureReason;
use wasmtime::{Error, Result, component::Resource};

use super::{
    Guest,
    bindings::wasi::cli::{
        environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin,
        terminal_stdout,
    },
    io::{InputStream, OutputStream},
};
use crate::run::Stop;

/// The first argument of every program: its own name.
const PROGRAM_NAME: &str = "app";

/// A terminal: there is none.
pub enum Terminal {}

impl environment::Host for Guest {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        self.charge(0);
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        self.charge(self.arguments.iter().map(|argument| argument.len() as u64).sum());
        Ok(std::iter::once(PROGRAM_NAME.to_owned()).chain(self.arguments.iter().cloned()).collect())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        self.charge(0);
        Ok(Some("/".into()))
    }
}

impl exit::Host for Guest {
    fn exit(&mut self, status: std::result::Result<(), ()>) -> Result<()> {
        self.exit_with_code(u8::from(status.is_err()))
    }

    fn exit_with_code(&mut self, status_code: u8) -> Result<()> {
        Err(Error::new(Stop::Exit(status_code)))
    }
}

impl stdin::Host for Guest {
    fn get_stdin(&mut self) -> Result<Resource<InputStream>> {
        self.charge(0);
        Ok(self.table.push(InputStream::Stdin)?)
    }
}

impl stdout::Host for Guest {
    fn get_stdout(&mut self) -> Result<Resource<OutputStream>> {
        self.charge(0);
        Ok(self.table.push(OutputStream::Stdout)?)
    }
}

impl stderr::Host for Guest {
    fn get_stderr(&mut self) -> Result<Resource<OutputStream>> {
        self.charge(0);
        Ok(self.table.push(OutputStream::Stderr)?)
    }
}

/// No program can hold a terminal.
fn no_terminal() -> Result<()> {
    Err(Error::new(Stop::Failed(FailureReason::Trap)))
}

impl terminal_input::Host for Guest {}

impl terminal_input::HostTerminalInput for Guest {
    fn drop(&mut self, _: Resource<Terminal>) -> Result<()> {
        no_terminal()
    }
}

impl terminal_output::Host for Guest {}

impl terminal_output::HostTerminalOutput for Guest {
    fn drop(&mut self, _: Resource<Terminal>) -> Result<()> {
        no_terminal()
    }
}

impl terminal_stdin::Host for Guest {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<Terminal>>> {
        self.charge(0);
        Ok(None)
    }
}

impl terminal_stdout::Host for Guest {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<Terminal>>> {
        self.charge(0);
        Ok(None)
    }
}

impl terminal_stderr::Host for Guest {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<Terminal>>> {
        self.charge(0);
        Ok(None)
    }
}
