//! What annotated workloads come to: stores, ExternalSecrets, and patches of the workloads. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::VaultAgent;
use super::ask::{Ask, File, PREFIX};
use super::expression::quoted;
use super::inputs::{Inputs, Secret};
use super::translate::translate;
use super::workload::Workload;
use crate::carry::{Note, Taken, Weight, short_hash};
use crate::kes::store::FILL_IN;

/// What names the ExternalSecrets that a pod is given.
pub const INJECT: &str = "keyferry.io/inject";

/// The longest name that can be injected.
const NAME: usize = 50;

/// What they come to.
#[derive(Default)]
pub struct Converted {
    /// Stores, then ExternalSecrets.
    pub manifests: Vec<Value>,
    /// What is to be said.
    pub notes: Vec<Note>,
    /// Commands, each with the place of what it is about.
    pub commands: Vec<(String, String)>,
}

/// Converts them all. Of several that ask the same there is one store.
pub fn convert(workloads: &[Workload], args: &VaultAgent) -> Converted {
    let (mut made, mut taken) = (Made::default(), Taken::default());
    for workload in workloads {
        let Some(ask) = Ask::of(&workload.annotations()) else { continue };
        let mut conversion = Conversion { workload, ask: &ask, args, made: &mut made };
        let of = |path: &str| workload.manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (kind, namespace, name) = (of("/kind"), of("/metadata/namespace"), of("/metadata/name"));
        match taken.take(kind, namespace, name, &workload.place(None)) {
            Err(first) if !name.is_empty() => {
                conversion.say(Weight::Lost, None, format!("it is there already ({first}): only that is carried over"));
            }
            _ => conversion.run(),
        }
    }
    let manifests = made.stores.into_iter().map(|(manifest, _)| manifest).chain(made.secrets).collect();
    Converted { manifests, notes: made.notes, commands: made.commands }
}

#[derive(Default)]
struct Made {
    /// Each with what tells it from others of its namespace.
    stores: Vec<(Value, String)>,
    secrets: Vec<Value>,
    /// Namespaces and names that are taken.
    names: BTreeSet<(String, String)>,
    notes: Vec<Note>,
    commands: Vec<(String, String)>,
}

struct Conversion<'c> {
    workload: &'c Workload,
    ask: &'c Ask,
    args: &'c VaultAgent,
    made: &'c mut Made,
}

/// A file that could be carried over.
struct Rendered<'a> {
    file: &'a File,
    /// Its path in the volume.
    path: String,
    template: String,
}

impl Conversion<'_> {
    fn run(mut self) {
        let (mut annotations, mut names) = (Map::new(), Vec::new());
        let mut is_held = !self.ask.lost.is_empty() || self.is_for_some();
        for (root, files) in volumes(&self.ask.files) {
            let mut inputs = Inputs::default();
            let mut rendered = Vec::new();
            for (path, file) in files {
                let before = inputs.len();
                match self.template(file).and_then(|template| translate(&template, &mut inputs)) {
                    Ok(template) => rendered.push(Rendered { file, path, template }),
                    Err(why) => {
                        inputs.forget(before);
                        is_held = true;
                        self.say(Weight::Lost, Some(&file_annotation(file)), format!("file {:?}: {why}", file.name));
                    }
                }
            }
            if inputs.is_empty() {
                for one in rendered {
                    is_held = true;
                    let text = format!(
                        "file {:?}: nothing in its folder asks for anything of Vault: mount it from a ConfigMap",
                        one.file.name
                    );
                    self.say(Weight::Lost, Some(&file_annotation(one.file)), text);
                }
                continue;
            }
            let name = self.external_secret(&rendered, &inputs);
            self.volume(&name, &root, &rendered, &mut annotations);
            names.push(name);
        }
        self.tell();
        if names.is_empty() {
            return self.say(Weight::Lost, None, "none of its files could be carried over");
        }
        annotations.insert(INJECT.to_owned(), json!(names.join(",")));
        // Pods begin anew with the patch, and by then must be let.
        let account = self.workload.of_pod("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("default");
        for name in names {
            let namespace = self.namespace().map(|namespace| format!(" --namespace {namespace}")).unwrap_or_default();
            self.command(format!("keyferry grant {name} --to {account}{namespace} | kubectl apply --filename -"));
        }
        self.patch(annotations, is_held);
    }

    fn say(&mut self, weight: Weight, annotation: Option<&str>, text: impl Into<String>) {
        self.made.notes.push(Note { place: self.workload.place(annotation), weight, text: text.into() });
    }

    fn command(&mut self, command: String) {
        self.made.commands.push((self.workload.place(None), command));
    }

    fn namespace(&self) -> Option<&str> {
        self.workload.manifest["metadata"]["namespace"].as_str().filter(|namespace| !namespace.is_empty())
    }

    /// A file's template, or the injector's own. The error says why there is none.
    fn template(&self, file: &File) -> Result<String, String> {
        if file.has_template_file {
            return Err(
                "its template is a file of the agent's: write it as an annotation, and run this again".to_owned()
            );
        }
        if file.has_own_delimiters {
            return Err(
                "its template has delimiters of its own: write it with {{ and }}, and run this again".to_owned()
            );
        }
        if let Some(template) = &file.template {
            return Ok(template.clone());
        }
        let path = file.path.as_deref().unwrap_or_default();
        let within = |body: &str| format!("{{{{ with secret {} }}}}{body}{{{{ end }}}}", quoted(path));
        if Secret::of(path, false)?.is_second {
            let (form, own) = if self.ask.is_json {
                ("JSON of the secret", within("{{ .Data.data | toJSON }}"))
            } else {
                let pairs = "{{ range $key, $value := .Data.data }}{{ $key }}={{ $value }}{{ \"\\n\" }}{{ end }}";
                ("Go's own writing of the secret", within(pairs))
            };
            return Err(format!(
                "without a template it is {form} and its metadata, which can't be had: write one, such as {own}, and run this again"
            ));
        }
        Ok(within(if self.ask.is_json {
            "{{ .Data | toJSON }}\n"
        } else {
            "{{ range $k, $v := .Data }}{{ $k }}: {{ $v }}\n{{ end }}"
        }))
    }

    /// The ExternalSecret of one volume; gives its name.
    fn external_secret(&mut self, rendered: &[Rendered<'_>], inputs: &Inputs) -> String {
        let stores: Vec<(Secret, String)> =
            inputs.secrets().map(|secret| (secret.clone(), self.store(secret))).collect();
        let main = stores.first().map(|(_, name)| name.clone()).unwrap_or_default();
        let data = inputs.data(|secret| {
            let store = stores.iter().find(|(known, _)| known == secret).map(|(_, name)| name)?;
            (*store != main).then(|| json!({"name": store, "kind": "SecretStore"}))
        });
        let templates: BTreeMap<String, &String> =
            keys(rendered).into_iter().zip(rendered.iter().map(|one| &one.template)).collect();
        let mut spec = json!({
            "refreshInterval": self.ask.interval.as_deref().unwrap_or(&self.args.refresh_interval),
            "secretStoreRef": {"name": main, "kind": "SecretStore"},
            "target": {"creationPolicy": "None", "template": {"engineVersion": "v2", "data": templates}},
            "data": data,
        });
        if self.ask.is_once {
            spec["refreshPolicy"] = json!("CreatedOnce");
        }
        let name = self.free_name(self.workload.manifest["metadata"]["name"].as_str().unwrap_or("vault"), None);
        let metadata = self.metadata(&name);
        self.made.secrets.push(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": metadata, "spec": spec,
        }));
        name
    }

    fn metadata(&self, name: &str) -> Value {
        let mut metadata = json!({"name": name});
        if let Some(namespace) = self.namespace() {
            metadata["namespace"] = json!(namespace);
        }
        metadata
    }

    /// A name that nothing else made here has, and that can be injected. Where it is taken, a hash of the spec is part of it, or a number.
    fn free_name(&mut self, wanted: &str, spec: Option<&str>) -> String {
        let plain: String =
            wanted.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let plain = plain.trim_matches('-');
        let namespace = self.namespace().unwrap_or_default().to_owned();
        let cut = |to: usize| plain.chars().take(to).collect::<String>().trim_end_matches('-').to_owned();
        let hashed = spec.map(|spec| format!("{}-{}", cut(NAME - 9), short_hash(spec)));
        let names = std::iter::once(cut(NAME)).chain(hashed).chain((2..).map(|n| format!("{}-{n}", cut(NAME - 6))));
        let mut free = names.filter(|name| !self.made.names.contains(&(namespace.clone(), name.clone())));
        let name = free.next().unwrap_or_default();
        self.made.names.insert((namespace, name.clone()));
        name
    }

    /// The store of a secret; gives its name.
    fn store(&mut self, secret: &Secret) -> String {
        let (ask, args) = (self.ask, self.args);
        let server = ask.server.clone().or_else(|| args.vault_server.clone());
        let role = ask.role.clone();
        let login = ask.login.clone().unwrap_or_else(|| args.auth_path.clone());
        let mut vault = json!({
            "server": server.clone().unwrap_or_else(|| format!("https://{FILL_IN}")),
            "path": secret.mount,
            "version": if secret.is_second { "v2" } else { "v1" },
            "auth": {"kubernetes": {
                "mountPath": login,
                "role": role.clone().unwrap_or_else(|| FILL_IN.to_owned()),
                "serviceAccountRef": {"name": "whoever-mounts", "audiences": [args.audience]},
            }},
        });
        if let Some(namespace) = ask.namespace.as_ref().or(args.vault_namespace.as_ref()) {
            vault["namespace"] = json!(namespace);
        }
        if let Some((name, key)) = &ask.authority {
            vault["caProvider"] = json!({"type": "Secret", "name": name, "key": key});
        }
        let namespace = self.namespace().unwrap_or_default().to_owned();
        let mark = format!("{namespace} {vault}");
        if let Some((known, _)) = self.made.stores.iter().find(|(_, known)| *known == mark) {
            return known["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        }
        let role_name = role.clone().unwrap_or_default();
        let name = self.free_name(&format!("vault-{}-{role_name}", secret.mount), Some(&vault.to_string()));
        let metadata = self.metadata(&name);
        self.made.stores.push((
            json!({
                "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": metadata,
                "spec": {"loginBy": "Mount", "provider": {"vault": vault}},
            }),
            mark,
        ));
        self.tell_of_store(&name, secret, server.is_none(), role.as_deref(), &login);
        name
    }

    fn tell_of_store(&mut self, name: &str, secret: &Secret, lacks_server: bool, role: Option<&str>, login: &str) {
        let audience = self.args.audience.clone();
        let store = format!("SecretStore {name:?}");
        if lacks_server {
            self.say(
                Weight::ToDo,
                None,
                format!(
                    "{store}: spec.provider.vault.server: set it, or give --vault-server (AGENT_INJECT_VAULT_ADDR)"
                ),
            );
        }
        let role = match role {
            Some(role) => format!("the role {role:?} of auth/{login}"),
            None => {
                self.say(
                    Weight::ToDo,
                    None,
                    format!("{store}: spec.provider.vault.auth.kubernetes.role: no annotation names a role"),
                );
                format!("its role of auth/{login}")
            }
        };
        self.say(
            Weight::ToDo,
            None,
            format!(
                "{store}: have {role} take tokens of the audience {audience:?} (audience={audience}), which node.audiences of the chart has; the \
                 agent's were for the API server"
            ),
        );
        if !secret.is_second {
            self.say(
                Weight::Note,
                None,
                format!("{store}: {:?} is taken for a key-value engine of the first version, since nothing reads a .Data.data of it", secret.mount),
            );
        }
        if let Some((secret, _)) = &self.ask.authority {
            let text = format!(
                "{store}: pods must be able to read the Secret {secret:?} for its certificate: let them, or put it into caBundle"
            );
            self.say(Weight::ToDo, None, text);
        }
    }

    /// What a pod's annotations say of one volume.
    fn volume(&mut self, name: &str, root: &str, rendered: &[Rendered<'_>], annotations: &mut Map<String, Value>) {
        annotations.insert(format!("{INJECT}-path-{name}"), json!(root));
        let keys = keys(rendered);
        if rendered.iter().zip(&keys).all(|(one, key)| one.path == *key && one.file.mode.is_none()) {
            return;
        }
        let item = |(one, key): (&Rendered<'_>, &String)| {
            let mut item = json!({"key": key, "path": one.path});
            if let Some(mode) = &one.file.mode {
                item["mode"] = json!(format!("{:0>4}", mode.trim_start_matches("0o")));
            }
            item
        };
        let items: Vec<Value> = rendered.iter().zip(&keys).map(item).collect();
        annotations.insert(format!("{INJECT}-items-{name}"), json!(Value::Array(items).to_string()));
        let has_group = self.workload.of_pod("/spec/securityContext/fsGroup").is_some_and(Value::is_u64);
        let is_closed = |mode: &str| is_closed(mode, has_group);
        let closed = rendered.iter().find(|one| one.file.mode.as_deref().is_some_and(is_closed));
        let Some(closed) = closed.map(|one| one.file.clone()) else { return };
        match self.user() {
            Some(user) => drop(annotations.insert(format!("{INJECT}-owner-{name}"), json!(user))),
            None => self.say(
                Weight::ToDo,
                Some(&format!("agent-inject-perms-{}", closed.raw)),
                format!(
                    "file {:?}: its mode {} is for its owner and group, who are root here: say whose it is in {INJECT}-owner-{name}, or give \
                     the pod an fsGroup and the file the mode 0440",
                    closed.name,
                    closed.mode.unwrap_or_default()
                ),
            ),
        }
    }

    /// The number of the user whose the agent's files are, where that is known.
    fn user(&self) -> Option<String> {
        let number = |path: &str| self.workload.of_pod(path).and_then(Value::as_u64).map(|number| number.to_string());
        let of_container = || number("/spec/containers/0/securityContext/runAsUser");
        if self.ask.is_same_user { of_container() } else { self.ask.user.clone() }
            .or_else(of_container)
            .or_else(|| number("/spec/securityContext/runAsUser"))
    }

    /// What is said of all of a workload.
    fn tell(&mut self) {
        for (name, instead) in self.ask.lost.clone() {
            self.say(Weight::Lost, Some(&name), format!("{PREFIX}{name}: {instead}"));
        }
        for file in &self.ask.files {
            let Some(command) = &file.command else { continue };
            let text = format!(
                "file {:?}: nothing runs when it changes ({:?} did): have the app look at it, or run `keyferry sync --watch --on-change` beside it",
                file.name,
                super::action::excerpt(command)
            );
            self.say(Weight::ToDo, Some(&format!("agent-inject-command-{}", file.raw)), text);
        }
        if self.is_for_some() {
            self.say(
                Weight::ToDo,
                Some("agent-inject-containers"),
                "all containers would have the files: name a csi volume in the pod, and mount it in those that need it; or, where all may \
                 have them, take the annotation out, and run this again",
            );
        }
        if self.ask.is_late {
            self.say(Weight::Note, Some("agent-pre-populate"), "the app starts when its files are there, not before");
        }
    }

    /// Whether some containers have no files.
    fn is_for_some(&self) -> bool {
        let containers = self.workload.of_pod("/spec/containers").and_then(Value::as_array);
        let mut all = containers.into_iter().flatten().filter_map(|container| container["name"].as_str());
        self.ask.containers.as_ref().is_some_and(|some| all.any(|name| !some.contains(name)))
    }

    /// The patch of the workload, as a command, or what to do where there can be none, or none yet.
    fn patch(&mut self, annotations: Map<String, Value>, is_held: bool) {
        if is_held {
            let wanted = Value::Object(annotations);
            return self.say(
                Weight::ToDo,
                None,
                format!(
                    "it keeps the agent until nothing of it is lost, and all its containers may have the files; its pods' annotations are \
                     then {wanted}"
                ),
            );
        }
        let mut changed = annotations;
        changed.extend(self.ask.names.iter().map(|name| (name.clone(), Value::Null)));
        let kind = self.workload.manifest["kind"].as_str().unwrap_or_default();
        let metadata = json!({"metadata": {"annotations": changed}});
        let patch = match kind {
            "Pod" | "Job" => {
                changed.retain(|_, value| !value.is_null());
                let text = format!(
                    "a {kind} can't be given volumes: make it anew, with these annotations of its pod in place of the agent's: {}",
                    Value::Object(changed)
                );
                return self.say(Weight::ToDo, None, text);
            }
            "CronJob" => json!({"spec": {"jobTemplate": {"spec": {"template": metadata}}}}),
            _ => json!({"spec": {"template": metadata}}),
        };
        let name = self.workload.manifest["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = self.namespace().map(|namespace| format!(" --namespace {namespace}")).unwrap_or_default();
        let quoted = patch.to_string().replace('\'', "'\\''");
        self.command(format!(
            "kubectl patch {} {name}{namespace} --type merge --patch '{quoted}'",
            kind.to_lowercase()
        ));
    }
}

fn file_annotation(file: &File) -> String {
    match (&file.template, file.has_template_file) {
        (Some(_), _) => format!("agent-inject-template-{}", file.raw),
        (None, true) => format!("agent-inject-template-file-{}", file.raw),
        (None, false) => format!("agent-inject-secret-{}", file.raw),
    }
}

/// Whether a mode lets only root read: a file is its group's where pods have an fsGroup, and root's where they have none.
fn is_closed(mode: &str, has_group: bool) -> bool {
    u32::from_str_radix(mode.trim_start_matches("0o"), 8)
        .is_ok_and(|mode| mode & 0o004 == 0 && (mode & 0o040 == 0 || !has_group))
}

/// The files by the folders that are mounted, with their paths in those. A folder in another is part of that one's volume.
fn volumes(files: &[File]) -> Vec<(String, Vec<(String, &File)>)> {
    let folders: BTreeSet<&str> = files.iter().map(|file| file.folder.as_str()).collect();
    let within = |path: &str, root: &str| path == root || path.starts_with(&format!("{root}/"));
    let roots: Vec<&str> = folders
        .iter()
        .filter(|one| !folders.iter().any(|other| other != *one && within(one, other)))
        .copied()
        .collect();
    let of = |root: &str| {
        let inside = files.iter().filter(|file| within(&file.folder, root));
        let path =
            |file: &File| format!("{}/{}", &file.folder[root.len()..], file.name).trim_start_matches('/').to_owned();
        inside.map(|file| (path(file), file)).collect()
    };
    roots.into_iter().map(|root| (root.to_owned(), of(root))).collect()
}

/// The keys of the ExternalSecret by which files are called: their paths, as far as a key may hold them.
fn keys(rendered: &[Rendered<'_>]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut key = |one: &Rendered<'_>| {
        let plain: String =
            one.path.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
        let mut names = std::iter::once(plain.clone()).chain((2..).map(|n| format!("{plain}-{n}")));
        names.find(|name| taken.insert(name.clone())).unwrap_or_default()
    };
    rendered.iter().map(&mut key).collect()
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
