//! `keyferry crds`: the CustomResourceDefinitions as YAML.

use std::io::Write;

use clap::Args;

/// Flags of `keyferry crds`.
#[derive(Args, Debug)]
pub struct Crds {
    /// Serve v1beta1 too, for manifests that are not rewritten yet: its fields are those of v1, and v1 is what is stored
    #[arg(long)]
    pub serve_v1beta1: bool,
}

impl Crds {
    /// Prints them, each as a document.
    pub fn print(&self, out: &mut impl Write) -> Result<(), String> {
        let mut crds = keyferry_crds::crds();
        if self.serve_v1beta1 {
            keyferry_crds::serve_v1beta1(&mut crds);
        }
        let written = crds.iter().try_for_each(|crd| write!(out, "---\n{}", keyferry_crds::yaml(crd)));
        written.map_err(|_| "can't write to standard output".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_version_is_served_where_that_is_asked_for() {
        let print = |serve_v1beta1| {
            let mut out = Vec::new();
            Crds { serve_v1beta1 }.print(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let (plain, served) = (print(false), print(true));
        assert_eq!(plain.matches("served: false").count(), 4);
        assert_eq!(served, plain.replace("served: false", "served: true"), "nothing else differs");
    }
}
