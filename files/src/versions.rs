//! How a folder of files is swapped at once. As in the kubelet's volumes of Secrets the files are in a folder of their own,
//! `..data` leads to that, and each key to its file by way of `..data`; so whoever watches such volumes knows these, and a
//! container that has the folder mounted sees each change. Unlike there, links of new keys are made before the swap: they lead
//! nowhere until then, so that whoever opens files sees all of the old or all of the new.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, Result};

use crate::access::Access;
use crate::at;
use crate::contents::{Contents, Data};
use crate::plan::Found;

/// Leads to the files.
pub(crate) const DATA: &str = "..data";
/// What the names of the folders begin with that it leads to, one after the other.
const VERSION: &str = "..data-";
/// By way of this a link comes to be.
const LINK: &str = "..link";

fn through_data(name: &str) -> String {
    format!("{DATA}/{name}")
}

/// All that is in a folder, by what it is.
pub(crate) struct Listing {
    /// The version that is shown.
    pub version: Option<String>,
    /// Versions and links that nobody sees.
    left_over: Vec<String>,
    /// Names that lead through `..data`.
    links: BTreeSet<String>,
    /// What is not ours.
    others: usize,
}

impl Listing {
    /// A name that no version has had lately.
    pub fn next(&self) -> String {
        let versions = self.version.iter().chain(&self.left_over);
        let numbers = versions.filter_map(|name| name.strip_prefix(VERSION)?.parse::<u64>().ok());
        format!("{VERSION}{}", numbers.max().unwrap_or_default().wrapping_add(1))
    }
}

pub(crate) fn list(folder: BorrowedFd<'_>) -> Result<Listing> {
    let version = at::link(folder, DATA)?.filter(|to| to.starts_with(VERSION) && !to.contains('/'));
    let mut listing = Listing { version, left_over: Vec::new(), links: BTreeSet::new(), others: 0 };
    for name in at::names(folder)? {
        if name == DATA || listing.version.as_ref() == Some(&name) {
            continue;
        }
        if name == LINK || name.starts_with(VERSION) {
            listing.left_over.push(name);
        } else if at::link(folder, &name)?.is_some_and(|to| to == through_data(&name)) {
            listing.links.insert(name);
        } else {
            listing.others += 1;
        }
    }
    Ok(listing)
}

/// What a folder holds.
pub fn read(folder: BorrowedFd<'_>, access: Access) -> Result<Found> {
    let listing = list(folder)?;
    let mut files = Data::new();
    let mut is_tidy = listing.left_over.is_empty() && at::is_granted(&fstat(folder)?, access.folder_mode(), access);
    let version = match &listing.version {
        Some(name) => match at::folder(folder, name) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            opened => Some(opened?),
        },
        None => None,
    };
    let Some(version) = version else {
        // Where nothing else is in it, a writer made it and was killed, or somebody made it for us.
        return Ok(Found { contents: None, is_ours: listing.others == 0, is_tidy: false });
    };
    is_tidy &= at::is_granted(&fstat(&version)?, access.folder_mode(), access);
    for name in at::names(version.as_fd())? {
        let Some((bytes, stat)) = at::read(version.as_fd(), &name)? else {
            return Ok(Found { contents: None, is_ours: true, is_tidy: false });
        };
        is_tidy &= at::is_granted(&stat, access.mode, access);
        files.insert(name, bytes);
    }
    is_tidy &= listing.links.iter().eq(files.keys());
    Ok(Found { contents: Some(Contents::Folder(files)), is_ours: true, is_tidy })
}

/// Has the folder hold these files.
pub fn write(folder: BorrowedFd<'_>, files: &Data, access: Access) -> Result<()> {
    at::grant(folder, access.folder_mode(), access)?;
    let before = list(folder)?;
    let version = before.next();
    let into = at::make_folder(folder, &version)?;
    for (name, value) in files {
        at::make_file(into.as_fd(), name, value.expose(), access)?;
    }
    at::grant(into.as_fd(), access.folder_mode(), access)?;
    show(folder, &version, &before, &files.keys().cloned().collect())
}

/// Has a version that is whole be what the folder shows, by these names, and removes what was there before.
pub(crate) fn show(folder: BorrowedFd<'_>, version: &str, before: &Listing, names: &BTreeSet<String>) -> Result<()> {
    set_links(folder, names.iter(), &before.links)?;
    at::set_link(folder, DATA, version, LINK)?;
    clear(folder, names)
}

/// Has everything around the files be as [`write`] leaves it.
pub fn tidy(folder: BorrowedFd<'_>, files: &Data, access: Access) -> Result<()> {
    at::grant(folder, access.folder_mode(), access)?;
    let listing = list(folder)?;
    if let Some(version) = &listing.version {
        let version = at::folder(folder, version)?;
        for name in files.keys() {
            let (_, stat) = at::read(version.as_fd(), name)?.ok_or(Errno::IO)?;
            if !at::is_granted(&stat, access.mode, access) {
                at::grant(at::file(version.as_fd(), name)?.as_fd(), access.mode, access)?;
            }
        }
        at::grant(version.as_fd(), access.folder_mode(), access)?;
    }
    set_links(folder, files.keys(), &listing.links)?;
    clear(folder, &files.keys().cloned().collect())
}

/// Removes all that is ours from the folder. The files go at once, by the link to them.
pub fn remove(folder: BorrowedFd<'_>) -> Result<()> {
    at::remove(folder, DATA)?;
    clear(folder, &BTreeSet::new())
}

fn set_links<'a>(
    folder: BorrowedFd<'_>,
    names: impl Iterator<Item = &'a String>,
    there: &BTreeSet<String>,
) -> Result<()> {
    for name in names.filter(|name| !there.contains(*name)) {
        at::set_link(folder, name, &through_data(name), LINK)?;
    }
    Ok(())
}

/// Removes links that lead nowhere now, and versions that nobody sees.
fn clear(folder: BorrowedFd<'_>, names: &BTreeSet<String>) -> Result<()> {
    let now = list(folder)?;
    for name in now.links.iter().filter(|name| !names.contains(*name)) {
        at::remove(folder, name)?;
    }
    for name in now.left_over {
        let is_folder =
            at::stat(folder, &name)?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if is_folder {
            at::remove_folder(folder, &name)?;
        } else {
            at::remove(folder, &name)?;
        }
    }
    Ok(())
}
