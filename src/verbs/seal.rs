//! `keyferry seal`: one value, for git.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use keyferry_documents::{seal, values};
use keyferry_limits::DOCUMENT_SIZE;
use keyferry_provider_core::{SecretBuf, SecretBytes};
use keyferry_sealing::{Sealed, text};

use crate::sealing::way::Way;
use crate::verbs::keyring::{For, read};

/// Flags of `keyferry seal`.
#[derive(Args, Debug)]
pub struct Seal {
    #[command(flatten)]
    recipients: For,
    /// Seal for whoever uses stores in this namespace, or for the pods of it that run as this ServiceAccount: only the operator of
    /// the cluster opens it, in a store of the kind sealed
    #[arg(long = "for", value_name = "NAMESPACE[/SERVICEACCOUNT]", conflicts_with_all = ["recipient", "recipients_file", "armor"])]
    pub whom: Option<String>,
    #[command(flatten)]
    way: Way,
    /// Seal the bytes of this file, rather than what comes from standard input
    #[arg(long, short = 'f', value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// Print it as a file of age in text, which `age --decrypt` opens, rather than in one line
    #[arg(long, short = 'a')]
    pub armor: bool,
    /// Seal the line break at the end of standard input, too
    #[arg(long)]
    pub keep_newline: bool,
}

impl Seal {
    /// Prints the sealed value.
    pub async fn run(&self, input: &mut impl Read, out: &mut impl Write) -> Result<(), String> {
        let sealed = match &self.whom {
            Some(whom) => self.for_cluster(whom, input).await?,
            None => self.for_recipients(input)?,
        };
        out.write_all(&sealed).map_err(|_| "can't write to standard output".to_owned())
    }

    async fn for_cluster(&self, whom: &str, input: &mut impl Read) -> Result<Vec<u8>, String> {
        let scope = text::scope(whom).map_err(|problem| format!("--for: {problem}"))?;
        let key = self.way.public_key().await?;
        let sealed = Sealed::new(&key, scope, self.plain(input)?.expose()).map_err(|error| error.to_string())?;
        Ok(format!("{sealed}\n").into_bytes())
    }

    fn plain(&self, input: &mut impl Read) -> Result<SecretBytes, String> {
        match &self.filename {
            Some(file) => read(file),
            None => self.given(input),
        }
    }

    fn for_recipients(&self, input: &mut impl Read) -> Result<Vec<u8>, String> {
        let recipients = self.recipients.recipients(Path::new("."))?;
        let plain = self.plain(input)?;
        let sealed = if self.armor {
            seal(&plain, &recipients, true)
        } else {
            values::seal_value(&plain, &recipients).map(|line| format!("{line}\n").into_bytes())
        };
        sealed.map_err(|error| error.to_string())
    }

    fn given(&self, input: &mut impl Read) -> Result<SecretBytes, String> {
        let (mut all, mut part) = (SecretBuf::default(), zeroize::Zeroizing::new([0; 4096]));
        loop {
            match input.read(&mut *part) {
                Ok(0) => break,
                Ok(length) => all.extend(&part[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err("can't read standard input".to_owned()),
            }
            if all.len() > DOCUMENT_SIZE.size() {
                return Err(DOCUMENT_SIZE.to_string());
            }
        }
        let all = SecretBytes::from(all);
        let end = if self.keep_newline { None } else { all.expose().strip_suffix(b"\n") };
        let end = end.map(|rest| SecretBytes::new(rest.strip_suffix(b"\r").unwrap_or(rest).to_vec()));
        Ok(end.unwrap_or(all))
    }
}

#[cfg(test)]
mod tests {
    use keyferry_documents::{Identities, Tries, keys, open};

    use super::*;

    #[test]
    fn a_value_comes_back_without_the_line_break_of_the_terminal() {
        let (key, recipient) = keys::generate();
        let mut identities = Identities::default();
        identities.add(&key).unwrap();
        let sealed = |given: &str, armor, keep_newline| {
            let recipients = For { recipient: vec![recipient.clone()], ..For::default() };
            let mut out = Vec::new();
            let seal = Seal { recipients, whom: None, way: Way::default(), filename: None, armor, keep_newline };
            out.extend(seal.for_recipients(&mut given.as_bytes()).unwrap());
            let text = String::from_utf8(out).unwrap();
            let opened = match values::open_value(text.trim(), &identities, &mut Tries::default()) {
                Some(opened) => opened,
                None => open(text.as_bytes(), &identities, &mut Tries::default()),
            };
            (text, opened.unwrap().expose_str().unwrap().to_owned())
        };
        for (given, keep, expected) in
            [("a\n", false, "a"), ("a\r\n", false, "a"), ("a\n\n", false, "a\n"), ("a\n", true, "a\n"), ("", false, "")]
        {
            assert_eq!(sealed(given, false, keep).1, expected);
            assert_eq!(sealed(given, true, keep).1, expected);
        }
        assert_eq!(sealed("a", false, false).0.lines().count(), 1);
        let nobody = Seal {
            recipients: For { recipient: vec!["x".into()], ..For::default() },
            whom: None,
            way: Way::default(),
            filename: None,
            armor: false,
            keep_newline: false,
        };
        let error = nobody.for_recipients(&mut "a".as_bytes()).unwrap_err();
        assert!(error.starts_with("--recipient: a recipient is neither"), "{error}");
    }
}
