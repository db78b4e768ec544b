//! Where volumes may be: below the kubelet's folder of pods. Pure.

use std::path::{Component, Path, PathBuf};

use crate::refusal::Refusal;

/// The longest path that Linux takes.
const LONGEST: usize = 4096;

/// The path of a volume, checked part by part.
pub fn target(text: &str, kubelet: &Path) -> Result<PathBuf, Refusal> {
    if text.is_empty() {
        return Err(Refusal::invalid("no target path is given".to_owned()));
    }
    let path = Path::new(text);
    let pods = kubelet.join("pods");
    let is_plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    let inside = path.strip_prefix(&pods).is_ok_and(|rest| rest.components().count() > 1);
    // `components` passes over what is doubled or a dot, and so may another who is asked for the mount later.
    let is_as_written = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
    if text.len() <= LONGEST && path.is_absolute() && is_plain && is_as_written && inside {
        Ok(path.to_owned())
    } else {
        Err(Refusal::invalid(format!(
            "the target path is not below {}: the kubelet's folder is said by --kubelet-dir (Helm: node.kubeletDir)",
            pods.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_of_pods() {
        let kubelet = Path::new("/var/lib/kubelet");
        let fine = "/var/lib/kubelet/pods/5d/volumes/kubernetes.io~csi/app/mount";
        assert_eq!(target(fine, kubelet).unwrap(), Path::new(fine));
        for wrong in [
            "",
            "/",
            "/etc",
            "/var/lib/kubelet/pods",
            "/var/lib/kubelet/pods/5d",
            "/var/lib/kubelet/pods/../../../../etc/x",
            "/var/lib/kubelet/pods/5d/./x",
            "/var/lib/kubelet/pods//5d/x",
            "/var/lib/kubelet/pods/5d/x/",
            "var/lib/kubelet/pods/5d/x",
            "/var/lib/kubelet/podsx/5d/x",
        ] {
            assert!(target(wrong, kubelet).is_err(), "{wrong}");
        }
    }
}
