//! The program, and its link.

use std::path::Path;

use anyhow::anyhow;
use keyferry_testkit::{Operator as Program, eventually};

use crate::chromium::SOON;

/// A running `keyferry ui`.
pub struct Served {
    pub program: Program,
    /// What opens the page, once.
    pub link: String,
}

impl Served {
    pub async fn start(kubeconfig: &Path, more: &[&str]) -> Self {
        let program = Program::builder().arg("ui").arg(format!("--kubeconfig={}", kubeconfig.display())).args(more);
        let program = program.spawn().unwrap();
        let link = eventually(SOON, || async {
            let log = program.log()?;
            let link = log.lines().find(|line| line.starts_with("http://"));
            // The line may be there in part.
            link.filter(|_| log.contains("Ctrl-C")).map(str::to_owned).ok_or_else(|| anyhow!("there is no link: {log}"))
        });
        let link = link.await;
        Self { program, link }
    }

    /// The page without what opens it.
    pub fn page(&self) -> &str {
        self.link.split('?').next().unwrap()
    }

    /// Its server.
    pub fn origin(&self) -> String {
        let parts: Vec<&str> = self.link.split('/').collect();
        parts[..3].join("/")
    }
}
