//! For whom files are: their mode and owner. Pure.

use rustix::fs::Stat;

/// Who may do what with files, and whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The mode of files.
    pub mode: u32,
    /// The user, where it is to be another than who writes.
    pub uid: Option<u32>,
    /// The group, likewise.
    pub gid: Option<u32>,
}

/// For who writes, alone.
impl Default for Access {
    fn default() -> Self {
        Self { mode: 0o600, uid: None, gid: None }
    }
}

impl Access {
    /// The mode of the folders around such files: who may read those may look into these, and only the owner writes there.
    pub fn folder_mode(self) -> u32 {
        let readers = self.mode & 0o044;
        0o700 | readers | readers >> 2
    }

    /// Whether whom files are for, where somebody is named, may enter a folder. A user may be of any group, as far as is known here.
    pub fn enters(self, folder: &Stat) -> bool {
        let needed = match (self.uid, self.gid) {
            (None, None) | (Some(0), _) => return true,
            (Some(uid), _) if uid == folder.st_uid => 0o100,
            (Some(_), _) => 0o011,
            (None, Some(gid)) if gid == folder.st_gid => 0o010,
            (None, Some(_)) => 0o001,
        };
        folder.st_mode & needed != 0
    }
}

/// A mode as `chmod` takes it in octal; the error is for a person.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o777 == 0 && mode & 0o400 != 0 => Ok(mode),
        _ => Err(format!("{text:?} is not a mode such as 0600 or 0640, in octal, which lets the owner read")),
    }
}

/// Whose files are to be, by name or number: `app`, `app:web`, `1000:1000`, `:web`. `users` and `groups` are what
/// `/etc/passwd` and `/etc/group` hold. The error is for a person.
pub fn parse_owner(text: &str, users: &str, groups: &str) -> Result<(Option<u32>, Option<u32>), String> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let find = |name: &str, what: &str, known: &str| {
        if name.is_empty() {
            return Ok(None);
        }
        let by_name = || known.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').nth(1));
        let id = name.parse().ok().or_else(|| by_name()?.parse().ok());
        id.map(Some)
            .ok_or_else(|| format!("there is no {what} {name:?}: give its number, or a name that is known here"))
    };
    match (find(user, "user", users)?, find(group, "group", groups)?) {
        (None, None) => Err("name a user, a group, or both: app, app:web, :web, 1000:1000".to_owned()),
        owner => Ok(owner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_let_in_who_may_read_what_is_in_them() {
        for (mode, folder) in [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755), (0o400, 0o700), (0o660, 0o750)] {
            assert_eq!(Access { mode, ..Access::default() }.folder_mode(), folder, "{mode:o}");
        }
    }

    #[test]
    fn modes_are_octal_and_let_the_owner_read() {
        assert_eq!((parse_mode("0640"), parse_mode("400")), (Ok(0o640), Ok(0o400)));
        for wrong in ["", "u+r", "0680", "04600", "0200", "-1"] {
            assert!(parse_mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn owners_are_found_by_name_and_number() {
        let (users, groups) = ("root:x:0:0::/:/bin/sh\napp:x:7:8::/:/bin/sh\n", "root:x:0:\nweb:x:33:app\n");
        for (text, owner) in [
            ("app", (Some(7), None)),
            ("app:web", (Some(7), Some(33))),
            (":web", (None, Some(33))),
            ("1000:1001", (Some(1000), Some(1001))),
        ] {
            assert_eq!(parse_owner(text, users, groups), Ok(owner), "{text}");
        }
        for wrong in ["", ":", "ap", "app:we", "nobody", "-1"] {
            assert!(parse_owner(wrong, users, groups).is_err(), "{wrong}");
        }
    }
}
