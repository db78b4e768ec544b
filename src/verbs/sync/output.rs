//! The port for targets, over files.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyferry_crds::ExternalSecret;
use keyferry_files::access::Access;
use keyferry_files::contents::Contents;
use keyferry_files::format;
use keyferry_files::problem::Problem;
use keyferry_files::root::Root;
use keyferry_files::target::{Change, Place, Target};
use keyferry_provider_core::names::{is_label, is_name};
use keyferry_sync::audit;
use keyferry_sync::content::Content;
use keyferry_sync::data::Data;
use keyferry_sync::dependency::{Name, Version, name_of};
use keyferry_sync::hash::data_hash;
use keyferry_sync::outcome::{Failure, Headline, Retry, TargetChange};
use keyferry_sync::ports::{Applied, Observed, Output, Outputs, Presumed};
use keyferry_sync::told::Told;

use super::args::Format;
use super::marks::{self, Mark};
use crate::clock;
use crate::verbs::manifests::folder::Folder;
use crate::verbs::manifests::target::{Object, target};

/// How targets are written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// What a target is.
    pub format: Format,
    /// Whether there is a folder for each namespace.
    pub by_namespace: bool,
    /// For whom.
    pub access: Access,
    /// Whether somebody is to be told of changes.
    pub tells: bool,
}

/// All targets.
pub struct FileTargets {
    /// The folder.
    pub root: Arc<Root>,
    /// How.
    pub form: Form,
    /// The manifests, whose Secrets count as there.
    pub folder: Arc<Folder>,
    /// Where each is, or why it is nowhere.
    pub places: BTreeMap<Name, Result<Place, Told>>,
}

/// Where targets of these go. Each place is for one: who comes later than another is refused.
pub fn places<'a>(
    all: impl IntoIterator<Item = &'a ExternalSecret>,
    form: &Form,
) -> BTreeMap<Name, Result<Place, Told>> {
    let mut taken: BTreeMap<Place, Name> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for es in all {
        let name = name_of(&es.metadata);
        let place = place(es, form).and_then(|place| match taken.get(&place) {
            Some((namespace, other)) if *other != name.1 || *namespace != name.0 => Err(Told::without_values(format!(
                "ExternalSecret {namespace}/{other} is written to the same place: give one another spec.target.name, or use \
                 --by-namespace where their namespaces differ"
            ))),
            _ => Ok(place),
        });
        if let Ok(place) = &place {
            taken.insert(place.clone(), name.clone());
        }
        places.insert(name, place);
    }
    places
}

fn place(es: &ExternalSecret, form: &Form) -> Result<Place, Told> {
    let (namespace, _) = name_of(&es.metadata);
    // No API server has looked at them, and both become parts of a path.
    if !is_name(es.target_name()) || !is_label(&namespace) {
        let text = format!("Kubernetes gives no such names: {:?} in namespace {namespace:?}", es.target_name());
        return Err(Told::without_values(text));
    }
    Ok(Place { folder: Some(namespace).filter(|_| form.by_namespace), name: form.format.file_name(es.target_name()) })
}

impl FileTargets {
    /// A target at this place.
    pub fn at<'a>(&'a self, place: &'a Place) -> Target<'a> {
        Target { root: &self.root, place, access: self.form.access }
    }
}

impl Outputs for FileTargets {
    fn of<'a>(&'a self, es: &'a ExternalSecret) -> Box<dyn Output + 'a> {
        Box::new(FileOutput { all: self, es })
    }
}

struct FileOutput<'a> {
    all: &'a FileTargets,
    es: &'a ExternalSecret,
}

fn failure(headline: Headline, problem: &Problem) -> Failure {
    let retry = if problem.is_temporary { Retry::Soon } else { Retry::Late };
    Failure::new(headline, Told::without_values(problem.to_string()), retry)
}

fn unwritable(problem: Problem) -> Failure {
    failure(Headline::Update, &problem)
}

impl<'a> FileOutput<'a> {
    fn place(&self) -> Result<&'a Place, Failure> {
        match self.all.places.get(&name_of(&self.es.metadata)) {
            Some(Ok(place)) => Ok(place),
            Some(Err(why)) => Err(Failure::new(Headline::Spec, why.clone(), Retry::OnChange)),
            None => Err(Failure::new(Headline::Spec, "it is not known any more", Retry::OnChange)),
        }
    }

    fn contents(&self, object: &Object) -> Result<Contents, Failure> {
        let data = || {
            object.data().ok_or_else(|| {
                Failure::new(
                    Headline::ManifestKind,
                    "a target that is no Secret is written as YAML: use --format yaml",
                    Retry::OnChange,
                )
            })
        };
        match self.all.form.format {
            Format::Files => Contents::folder(data()?).map_err(unwritable),
            Format::Env => format::env(&data()?).map(Contents::File).map_err(unwritable),
            Format::DockerEnv => format::docker_env(&data()?).map(Contents::File).map_err(unwritable),
            Format::Json => format::json(&data()?).map(Contents::File).map_err(unwritable),
            Format::Yaml => Ok(Contents::File(object.yaml())),
        }
    }

    fn known(&self, place: &Place) -> Result<Option<Mark>, Failure> {
        let mark = marks::read(&self.all.root, place).map_err(unwritable)?;
        Ok(mark.filter(|mark| !mark.is_removed()))
    }

    fn note(&self, place: &Place, mark: &Mark) -> Result<(), Problem> {
        marks::write(&self.all.root, place, mark)
    }
}

fn hash(contents: &Contents) -> String {
    match contents {
        Contents::Folder(files) => data_hash(files.iter().map(|(name, value)| (name.as_str(), value.expose()))),
        Contents::File(bytes) => data_hash([("", bytes.expose())]),
    }
}

fn version(hash: &str) -> Version {
    Version { uid: "".into(), revision: hash.into() }
}

#[async_trait]
impl Output for FileOutput<'_> {
    fn named(&self, es: &ExternalSecret) -> audit::Object {
        match self.place() {
            Ok(place) => {
                let path = self.all.at(place).path();
                audit::Object { kind: "File".to_owned(), name: path.display().to_string(), ..audit::Object::default() }
            }
            Err(_) => audit::Object::target(es),
        }
    }

    async fn observe(&mut self) -> Result<Option<Observed>, Failure> {
        let place = self.place()?;
        let Some(found) = self.all.at(place).read().map_err(unwritable)? else { return Ok(None) };
        let mark = self.known(place)?.unwrap_or_default();
        let found = found.contents.as_ref().map(hash);
        let intact = found.as_ref() == Some(&mark.hash);
        let version = found.as_deref().map(version);
        Ok(Some(Observed { version, intact, written_at: mark.written, refresh_by: None }))
    }

    async fn apply(&mut self, content: &Content, _: Presumed<'_>) -> Result<Applied, Failure> {
        let place = self.place()?;
        let Some(object) = target(&self.all.folder, self.es, content)? else {
            return Ok(Applied {
                change: TargetChange::Nothing,
                version: None,
                adopted: None,
                is_alike: false,
                rotated: None,
            });
        };
        let contents = self.contents(&object)?;
        let (namespace, name) = name_of(&self.es.metadata);
        let before = self.known(place)?;
        let mark = Mark {
            external_secret: format!("{namespace}/{name}"),
            hash: hash(&contents),
            ..before.clone().unwrap_or_default()
        };
        // First: whoever is killed in between has still written what is known to be ours.
        let claim = || {
            let untold = self.all.form.tells || mark.untold;
            self.note(place, &Mark { written: Some(clock::now()), untold, ..mark.clone() })
        };
        let change = self.all.at(place).write(&contents, before.is_some(), claim).map_err(unwritable)?;
        let change = match change {
            Change::Created => TargetChange::Created,
            Change::Updated => TargetChange::Updated,
            Change::Nothing => {
                self.note(place, &mark).map_err(unwritable)?;
                TargetChange::Nothing
            }
        };
        Ok(Applied { change, version: Some(version(&mark.hash)), adopted: None, is_alike: false, rotated: None })
    }

    async fn foresee(&mut self, _: &Content) -> Result<Option<Data>, Failure> {
        // No store logs in with files of ours.
        Ok(None)
    }

    async fn remove(&mut self) -> Result<bool, Failure> {
        let place = self.place()?;
        // What is not known to be ours is not ours to remove.
        if self.known(place)?.is_none() {
            return Ok(false);
        }
        remove(self.all, place).map_err(|problem| failure(Headline::Delete, &problem))
    }

    async fn remove_renamed(&mut self) -> Result<Vec<String>, Failure> {
        // Nobody but --prune removes what no ExternalSecret asks for.
        Ok(Vec::new())
    }

    async fn mark(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Removes a target, and what is written down about it; where somebody is to be told of it, that stays until this is done.
/// Answers whether it was there.
pub fn remove(all: &FileTargets, place: &Place) -> Result<bool, Problem> {
    let mark = marks::read(&all.root, place)?.unwrap_or_default();
    if mark.is_removed() && mark.untold {
        // It is gone already, and what is there now is not ours.
        if !all.form.tells {
            all.root.forget(&place.mark())?;
        }
        return Ok(false);
    }
    let was_untold = mark.untold;
    let mut mark = Mark { untold: true, ..mark };
    if all.form.tells && !mark.is_removed() {
        // First: whoever is killed in between is told all the same.
        marks::write(&all.root, place, &mark)?;
    }
    let removed = all.at(place).remove()?;
    if all.form.tells && (removed || was_untold) {
        mark = Mark { hash: String::new(), synced: None, ..mark };
        marks::write(&all.root, place, &mark)?;
    } else {
        all.root.forget(&place.mark())?;
    }
    Ok(removed)
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
