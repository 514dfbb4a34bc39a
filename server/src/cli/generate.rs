//! Shell completions and manual pages, made from the flags themselves.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{arguments::Arguments, failure::Failure, output::Output};

pub(super) fn completions(shell: Shell, out: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "countersign", &mut script);
    Ok(out.raw(&script)?)
}

pub(super) fn man(out_dir: Option<&Path>, out: &Output) -> Result<(), Failure> {
    let command = Arguments::command();
    match out_dir {
        Some(dir) => clap_mangen::generate_to(command, dir).map_err(|error| {
            Failure::failed(format!("cannot write to {}: {error}", dir.display()))
        }),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            Ok(out.raw(&page)?)
        }
    }
}
