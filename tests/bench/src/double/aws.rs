//! AWS's JSON protocol: reads of Secrets Manager and of Parameter Store.
//!
//! Like the real ones it holds callers to the sizes of batches, gives the results of a batch in an order of its own,
//! and has no opinion about signatures.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::Question;
use super::http::{Reply, Request};
use super::rule::Refusal;
use super::values::{Values, Version, Versions};

/// How many keys a batch may hold.
const SECRETS: usize = 20;
const PARAMETERS: usize = 10;

const ACCOUNT: &str = "123456789012";
/// When everything was made, in seconds.
const CREATED: f64 = 1_700_000_000.0;

/// A request of this protocol.
pub(super) struct Aws {
    service: Service,
    action: String,
    region: String,
    body: Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    SecretsManager,
    Ssm,
}

/// Why a call or a key is refused: AWS's code, and its words.
type Error = (&'static str, String);

impl Aws {
    /// Reads a request, where it is of this protocol.
    pub fn of(request: &Request) -> Option<Self> {
        let (service, action) = request.header("x-amz-target")?.split_once('.')?;
        let service = match service {
            "secretsmanager" => Service::SecretsManager,
            "AmazonSSM" => Service::Ssm,
            _ => return None,
        };
        // Credential=ID/DATE/REGION/SERVICE/aws4_request
        let region = credential(request).and_then(|scope| scope.split('/').nth(2)).unwrap_or("us-east-1");
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        Some(Self { service, action: action.to_owned(), region: region.to_owned(), body })
    }

    pub fn question(&self, request: &Request) -> Question {
        let identity = credential(request).and_then(|scope| scope.split('/').next()).unwrap_or_default();
        Question { action: self.action.clone(), identity: identity.to_owned(), keys: self.keys() }
    }

    /// The names asked for, without what selects a version.
    fn keys(&self) -> Vec<String> {
        let texts = |field: &str| -> Vec<String> {
            let list = self.body[field].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(|id| self.name(id).to_owned()).collect()
        };
        let text = |field: &str| self.body[field].as_str().map(|id| self.name(id).to_owned()).into_iter().collect();
        match self.action.as_str() {
            "BatchGetSecretValue" => texts("SecretIdList"),
            "GetSecretValue" | "DescribeSecret" => text("SecretId"),
            "GetParameters" => texts("Names"),
            "GetParameter" => text("Name"),
            _ => Vec::new(),
        }
    }

    /// The plain name in an id: of an ARN, or with a selector.
    fn name<'a>(&self, id: &'a str) -> &'a str {
        let name = match id.split_once(":secret:") {
            // ARNs end with six characters of AWS's choice.
            Some((_, name)) => name.rsplit_once('-').map_or(name, |(name, _)| name),
            None => id,
        };
        match self.service {
            Service::SecretsManager => name,
            Service::Ssm => name.split(':').next().unwrap_or(name),
        }
    }

    pub fn answer(&self, question: &Question, values: &Values, refused: &HashMap<String, Refusal>) -> Reply {
        let store = Store { aws: self, question, values, refused };
        let answered = match self.action.as_str() {
            "BatchGetSecretValue" => store.batch(),
            "GetSecretValue" => store.secret(self.body["SecretId"].as_str().unwrap_or_default()),
            "DescribeSecret" => store.describe(),
            "ListSecrets" => store.list(),
            "GetParameters" => store.parameters(),
            "GetParameter" => store.one_parameter(),
            _ => Err(("UnknownOperationException", String::new())),
        };
        match answered {
            Ok(body) => Reply::text(200, "application/x-amz-json-1.1", body.to_string()),
            Err(error) => self.error(error),
        }
    }

    /// Refuses the whole call.
    pub fn refuse(&self, question: &Question, refusal: Refusal) -> Reply {
        self.error(self.cause(question, refusal, None))
    }

    fn error(&self, (code, message): Error) -> Reply {
        let status = if code.starts_with("Internal") { 500 } else { 400 };
        // Errors of the API front spell the field in lower case, and the services in upper case.
        let body = json!({"__type": code, "message": message, "Message": message}).to_string();
        let mut reply = Reply::text(status, "application/x-amz-json-1.1", body);
        if let Reply::Http { headers, .. } = &mut reply {
            headers.push_str(&format!("x-amzn-errortype: {code}\r\n"));
        }
        reply
    }

    fn cause(&self, question: &Question, refusal: Refusal, key: Option<&str>) -> Error {
        let (service, ssm) = match self.service {
            Service::SecretsManager => ("secretsmanager", false),
            Service::Ssm => ("ssm", true),
        };
        let message = |text: &str| text.to_owned();
        match refusal {
            Refusal::Denied => {
                let action = match (key, self.action.as_str()) {
                    // A batch is checked key by key as if each were asked for alone.
                    (Some(_), "BatchGetSecretValue") => "GetSecretValue",
                    (_, action) => action,
                };
                let on = key.map(|key| format!(" on resource: {key}")).unwrap_or_default();
                let user = format!("arn:aws:iam::{ACCOUNT}:user/{}", question.identity);
                let text = format!(
                    "User: {user} is not authorized to perform: {service}:{action}{on} because no identity-based \
                     policy allows the {service}:{action} action"
                );
                ("AccessDeniedException", text)
            }
            Refusal::NotFound if ssm => ("ParameterNotFound", String::new()),
            Refusal::NotFound => {
                ("ResourceNotFoundException", message("Secrets Manager can't find the specified secret."))
            }
            Refusal::Undecryptable if ssm => ("InvalidKeyId", message("the key is disabled")),
            Refusal::Undecryptable => (
                "DecryptionFailure",
                message("Secrets Manager can't decrypt the protected secret text using the provided KMS key."),
            ),
            Refusal::Throttled => ("ThrottlingException", message("Rate exceeded")),
            Refusal::Invalid => ("ValidationException", message("1 validation error detected")),
            Refusal::UnknownCaller => {
                ("UnrecognizedClientException", message("The security token included in the request is invalid."))
            }
            Refusal::Internal if ssm => ("InternalServerError", message("an error on the server side")),
            Refusal::Internal => ("InternalServiceError", message("An error occurred on the server side.")),
        }
    }
}

/// One call being answered.
struct Store<'a> {
    aws: &'a Aws,
    question: &'a Question,
    values: &'a Values,
    refused: &'a HashMap<String, Refusal>,
}

impl Store<'_> {
    fn versions(&self, key: &str) -> Result<&Versions, Error> {
        let refusal = match (self.refused.get(key), self.values.get(&self.question.identity, key)) {
            (None, Some(versions)) => return Ok(versions),
            (None, None) => Refusal::NotFound,
            (Some(refusal), _) => *refusal,
        };
        Err(self.aws.cause(self.question, refusal, Some(key)))
    }

    fn secret(&self, id: &str) -> Result<Value, Error> {
        let name = self.aws.name(id);
        let versions = self.versions(name)?;
        let text = |field: &str| self.aws.body[field].as_str();
        let found = match (text("VersionId"), text("VersionStage")) {
            (Some(id), _) => versions.iter().position(|version| version.id == id),
            (None, None | Some("AWSCURRENT")) => versions.len().checked_sub(1),
            (None, Some("AWSPREVIOUS")) => versions.len().checked_sub(2),
            (None, Some(_)) => None,
        };
        match found {
            Some(at) => Ok(self.entry(name, versions, at)),
            None => Err(self.aws.cause(self.question, Refusal::NotFound, Some(name))),
        }
    }

    fn entry(&self, name: &str, versions: &Versions, at: usize) -> Value {
        let Version { id, text } = &versions[at];
        let stages = match versions.len() - at {
            1 => vec!["AWSCURRENT"],
            2 => vec!["AWSPREVIOUS"],
            _ => vec![],
        };
        json!({
            "ARN": self.arn(name), "Name": name, "VersionId": id, "SecretString": &**text, "VersionStages": stages,
            "CreatedDate": CREATED,
        })
    }

    fn arn(&self, name: &str) -> String {
        format!("arn:aws:secretsmanager:{}:{ACCOUNT}:secret:{name}-AbCdEf", self.aws.region)
    }

    fn batch(&self) -> Result<Value, Error> {
        let ids: Vec<&str> =
            self.aws.body["SecretIdList"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if ids.is_empty() || ids.len() > SECRETS {
            let message = format!(
                "1 validation error detected: Value at 'secretIdList' failed to satisfy constraint: Member must have \
                 length less than or equal to {SECRETS}"
            );
            return Err(("ValidationException", message));
        }
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        // Backwards: who goes by the order is wrong.
        for id in ids.into_iter().rev() {
            let name = self.aws.name(id);
            match self.versions(name) {
                Ok(versions) => found.push(self.entry(name, versions, versions.len() - 1)),
                Err((code, message)) => errors.push(json!({"SecretId": id, "ErrorCode": code, "Message": message})),
            }
        }
        Ok(json!({"SecretValues": found, "Errors": errors}))
    }

    fn describe(&self) -> Result<Value, Error> {
        let name = self.aws.name(self.aws.body["SecretId"].as_str().unwrap_or_default());
        let versions = self.versions(name)?;
        let stages = |at: usize| self.entry(name, versions, at)["VersionStages"].clone();
        let by_id: Map<String, Value> =
            versions.iter().enumerate().map(|(at, version)| (version.id.clone(), stages(at))).collect();
        Ok(json!({"ARN": self.arn(name), "Name": name, "CreatedDate": CREATED, "VersionIdsToStages": by_id}))
    }

    fn list(&self) -> Result<Value, Error> {
        let names = self.values.keys(&self.question.identity);
        let list: Vec<Value> = names.iter().map(|name| json!({"ARN": self.arn(name), "Name": name})).collect();
        Ok(json!({ "SecretList": list }))
    }

    fn parameters(&self) -> Result<Value, Error> {
        let names: Vec<&str> =
            self.aws.body["Names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut plain = self.question.keys.clone();
        plain.sort();
        plain.dedup();
        if names.is_empty() || names.len() > PARAMETERS || plain.len() < names.len() {
            let message =
                format!("1 validation error detected: 'names' must hold 1 to {PARAMETERS} distinct parameters");
            return Err(("ValidationException", message));
        }
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        for name in names.into_iter().rev() {
            match self.parameter(name) {
                Ok(parameter) => found.push(parameter),
                Err(("ParameterNotFound", _)) => invalid.push(name),
                // Here a batch is refused as a whole for one parameter that may not be read.
                Err(error) => return Err(error),
            }
        }
        Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
    }

    fn one_parameter(&self) -> Result<Value, Error> {
        let parameter = self.parameter(self.aws.body["Name"].as_str().unwrap_or_default())?;
        Ok(json!({ "Parameter": parameter }))
    }

    fn parameter(&self, name: &str) -> Result<Value, Error> {
        let (plain, selector) = name.split_once(':').map_or((name, None), |(name, selector)| (name, Some(selector)));
        let versions = self.versions(plain)?;
        let version = selector.map_or(Some(versions.len()), |selector| selector.parse().ok());
        match version.and_then(|version| Some((version, versions.get(version.checked_sub(1)?)?))) {
            Some((number, version)) => Ok(json!({
                "Name": plain, "Type": "SecureString", "Value": &*version.text, "Version": number,
                "Selector": selector.map(|selector| format!(":{selector}")), "DataType": "text",
                "ARN": format!("arn:aws:ssm:{}:{ACCOUNT}:parameter/{}", self.aws.region, plain.trim_start_matches('/')),
                "LastModifiedDate": CREATED,
            })),
            None => Err(self.aws.cause(self.question, Refusal::NotFound, Some(plain))),
        }
    }
}

fn credential(request: &Request) -> Option<&str> {
    let (_, rest) = request.header("authorization")?.split_once("Credential=")?;
    rest.split(',').next()
}
