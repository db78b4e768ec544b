//! GitLab: variables of projects and groups, each of one environment, behind an access token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};
use crate::trusted::Trusted;

/// The token that logs in.
pub const TOKEN: &str = "glpat-canary-of-the-token";

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    tokens: Trusted,
    /// By `projects/ID` and `groups/ID`.
    owners: BTreeMap<String, Vec<Variable>>,
    /// The groups of projects: paths and ids.
    groups: BTreeMap<String, Vec<(String, u64)>>,
    /// Owners and ids of deploy tokens.
    deploy_tokens: Vec<(String, u64)>,
    last_token: u64,
}

struct Variable {
    key: String,
    value: String,
    environment: String,
    hidden: bool,
    /// All else that it was made with.
    more: Value,
}

impl Double {
    /// One with the project 1, in no group.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            tokens: Trusted::one(TOKEN),
            owners: BTreeMap::new(),
            groups: BTreeMap::new(),
            deploy_tokens: Vec::new(),
            last_token: 0,
        }));
        let shared = state.clone();
        let router = Router::new().fallback(move |request: Request| {
            let state = shared.clone();
            async move { answer(&Asked::of(request).await, &mut state.lock().expect("no test panics with it")) }
        });
        let double = Self { server: Server::start(router), state };
        double.project("1", &[]);
        double
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// A project in these groups, by path and id.
    pub fn project(&self, id: &str, groups: &[(&str, u64)]) {
        let mut state = self.state();
        state.owners.entry(format!("projects/{id}")).or_default();
        for (_, group) in groups {
            state.owners.entry(format!("groups/{group}")).or_default();
        }
        let groups = groups.iter().map(|(path, id)| ((*path).to_owned(), *id)).collect();
        state.groups.insert(id.to_owned(), groups);
    }

    /// How many deploy tokens an owner has.
    pub fn deploy_tokens(&self, owner: &str) -> usize {
        self.state().deploy_tokens.iter().filter(|(of, _)| of == owner).count()
    }

    /// Writes a variable of an owner (`projects/1`, `groups/2`), for an environment.
    pub fn put(&self, owner: &str, key: &str, value: &str, environment: &str) {
        let mut state = self.state();
        let variables = state.owners.entry(owner.to_owned()).or_default();
        variables.retain(|variable| variable.key != key || variable.environment != environment);
        let (key, value, environment) = (key.to_owned(), value.to_owned(), environment.to_owned());
        variables.push(Variable { key, value, environment, hidden: false, more: json!({}) });
    }

    /// Lets in whoever has this token, too.
    pub fn trust(&self, token: &str) {
        self.state().tokens.add(token);
    }

    /// Lets in nobody any more but with the last token that was trusted.
    pub fn retire(&self) {
        self.state().tokens.retire();
    }

    /// Shows the value of a variable to nobody from now on.
    pub fn hide(&self, owner: &str, key: &str) {
        for variable in self.state().owners.entry(owner.to_owned()).or_default() {
            variable.hidden |= variable.key == key;
        }
    }

    /// Another token in place of the one that there is.
    pub fn set_token(&self, token: &str) {
        self.state().tokens = Trusted::one(token);
    }

    /// Removes a variable, of all environments.
    pub fn delete(&self, owner: &str, key: &str) {
        self.state().owners.entry(owner.to_owned()).or_default().retain(|variable| variable.key != key);
    }
}

fn wrong(status: u16, message: &str) -> Response {
    asked::json(status, &json!({"message": message}))
}

fn shown(variable: &Variable) -> Value {
    let Variable { key, value, environment, hidden, more } = variable;
    let value = (!hidden).then_some(value);
    let mut shown = json!({
        "variable_type": "env_var", "key": key, "value": value, "protected": false, "masked": hidden,
        "hidden": hidden, "raw": false, "environment_scope": environment, "description": null,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        shown[name] = value.clone();
    }
    shown
}

/// One page of a list, with the headers that lead on.
fn page(asked: &Asked, list: &[Value]) -> Response {
    let number = |name: &str, default: usize| asked.query(name).parse().unwrap_or(default).max(1);
    let (size, at) = (number("per_page", 20).min(100), number("page", 1));
    let pages = list.len().div_ceil(size).max(1);
    let shown: Vec<_> = list.iter().skip((at - 1) * size).take(size).collect();
    let next = if at < pages { (at + 1).to_string() } else { String::new() };
    let (host, path) = (asked.header("host"), asked.path.join("/"));
    let link = match next.as_str() {
        "" => String::new(),
        next => format!("<http://{host}/{path}?page={next}&per_page={size}>; rel=\"next\""),
    };
    let headers = [
        ("link", link),
        ("x-page", at.to_string()),
        ("x-per-page", size.to_string()),
        ("x-next-page", next),
        ("x-total", list.len().to_string()),
        ("x-total-pages", pages.to_string()),
    ];
    asked::with(200, "application/json", json!(shown).to_string(), &headers)
}

fn answer(asked: &Asked, state: &mut State) -> Response {
    let bearer = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if ![asked.header("private-token"), bearer].iter().any(|token| state.tokens.holds(token)) {
        return wrong(401, "401 Unauthorized");
    }
    let (method, path) = asked.what();
    let ["api", "v4", kind @ ("projects" | "groups"), id, rest @ ..] = &path[..] else {
        return asked::json(404, &json!({"error": "404 Not Found"}));
    };
    let kind = *kind;
    let owner = format!("{kind}/{id}");
    if !state.owners.contains_key(&owner) {
        return wrong(404, if kind == "projects" { "404 Project Not Found" } else { "404 Group Not Found" });
    }
    match (method, rest) {
        ("GET", ["groups"]) if kind == "projects" => {
            let groups = state.groups.get(*id).map(Vec::as_slice).unwrap_or_default();
            let groups: Vec<_> =
                groups.iter().map(|(path, id)| json!({"id": id, "name": path, "full_path": path})).collect();
            page(asked, &groups)
        }
        ("GET", ["variables"]) => page(asked, &state.owners[&owner].iter().map(shown).collect::<Vec<_>>()),
        ("POST", ["deploy_tokens"]) => {
            if asked.text("name").is_empty() || asked.body["scopes"].as_array().is_none_or(Vec::is_empty) {
                return asked::json(400, &json!({"error": "name is missing, scopes is missing"}));
            }
            state.last_token += 1;
            let id = state.last_token;
            state.deploy_tokens.push((owner, id));
            let username = match asked.text("username") {
                "" => format!("gitlab+deploy-token-{id}"),
                username => username.to_owned(),
            };
            asked::json(
                201,
                &json!({"id": id, "name": asked.text("name"), "username": username,
                "expires_at": asked.body["expires_at"], "token": format!("gldt-canary-{id}"), "revoked": false,
                "expired": false, "scopes": asked.body["scopes"]}),
            )
        }
        ("GET", ["deploy_tokens"]) => {
            let tokens = state.deploy_tokens.iter().filter(|(of, _)| *of == owner);
            page(asked, &tokens.map(|(_, id)| json!({"id": id})).collect::<Vec<_>>())
        }
        ("DELETE", ["deploy_tokens", id]) => {
            let before = state.deploy_tokens.len();
            state.deploy_tokens.retain(|(of, known)| *of != owner || known.to_string() != **id);
            if state.deploy_tokens.len() < before {
                asked::with(204, "application/json", String::new(), &[])
            } else {
                wrong(404, "404 Deploy Token Not Found")
            }
        }
        ("POST", ["variables"]) => create(asked, state.owners.entry(owner).or_default()),
        (_, ["variables", key]) => one(asked, state.owners.entry(owner).or_default(), key, kind),
        _ => asked::json(404, &json!({"error": "404 Not Found"})),
    }
}

fn create(asked: &Asked, variables: &mut Vec<Variable>) -> Response {
    let key = asked.text("key").to_owned();
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return asked::json(400, &json!({"message": {"key": ["can contain only letters, digits and '_'."]}}));
    }
    let environment = Some(asked.text("environment_scope")).filter(|scope| !scope.is_empty()).unwrap_or("*").to_owned();
    if variables.iter().any(|variable| variable.key == key && variable.environment == environment) {
        return asked::json(400, &json!({"message": {"key": [format!("({key}) has already been taken")]}}));
    }
    let mut more = asked.body.clone();
    for own in ["key", "value", "environment_scope", "masked_and_hidden"] {
        more.as_object_mut().map(|fields| fields.remove(own));
    }
    let hidden = asked.body["masked_and_hidden"] == true;
    variables.push(Variable { key, value: asked.text("value").to_owned(), environment, hidden, more });
    asked::json(201, &shown(variables.last().expect("it was put there")))
}

fn one(asked: &Asked, variables: &mut Vec<Variable>, key: &str, kind: &str) -> Response {
    let filter = asked.query.get("filter[environment_scope]").map(String::as_str);
    let filter = filter.or(asked.body["filter"]["environment_scope"].as_str());
    let fits = |variable: &Variable| variable.key == key && filter.is_none_or(|filter| filter == variable.environment);
    let found: Vec<usize> = (0..variables.len()).filter(|n| fits(&variables[*n])).collect();
    let missing = if kind == "projects" { "404 Variable Not Found" } else { "404 GroupVariable Not Found" };
    match (asked.method.as_str(), &found[..]) {
        (_, []) => wrong(404, missing),
        ("GET", [n]) => asked::json(200, &shown(&variables[*n])),
        ("PUT", [n]) => {
            if let Some(value) = asked.body["value"].as_str() {
                variables[*n].value = value.to_owned();
            }
            asked::json(200, &shown(&variables[*n]))
        }
        ("DELETE", [n]) => {
            variables.remove(*n);
            asked::with(204, "application/json", String::new(), &[])
        }
        _ => {
            wrong(409, "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'")
        }
    }
}
