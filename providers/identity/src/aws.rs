//! The login by AWS's word: who we are to AWS, and the call to STS that is signed and left to the server to make. It asks
//! STS who signed it, and believes the answer.
//!
//! A login is rare, and gets its AWS credentials anew: none is kept.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyferry_provider_core::{
    BuildContext, Error, ErrorKind, SecretBuf, SecretBytes, SecretRef, ServiceAccountRef, json,
};
use keyferry_provider_http::{form, shared};

use crate::cloud::{Answer, Service, Shown, header_value};
use crate::sign::{Keys, Scope, authorization};

/// Whom we are to AWS.
#[derive(Debug)]
pub struct Aws {
    /// The region whose STS is to say who signed: a label of a host name and nothing else.
    pub region: String,
    /// The AWS role to assume first, by its ARN.
    pub role: Option<String>,
    /// What the owner of that role wants to hear.
    pub external_id: Option<String>,
    /// What our sessions are called, in CloudTrail and in policies.
    pub session: &'static str,
    /// What the spec could say in place of the operator's own identity.
    pub instead: &'static str,
    /// Whom we are at first.
    pub identity: AwsIdentity,
}

/// Whom we are to AWS at first.
#[derive(Debug)]
pub enum AwsIdentity {
    /// Who has these keys.
    Keys {
        /// The access key id.
        id: SecretRef,
        /// The secret access key.
        secret: SecretRef,
        /// The session token of temporary keys.
        token: Option<SecretRef>,
    },
    /// The role that a ServiceAccount is annotated with.
    ServiceAccount(ServiceAccountRef),
    /// Whom AWS takes the operator itself for.
    Operator,
}

/// Where a ServiceAccount says which role its tokens stand for, and for which audience they are to be.
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";
const AUDIENCE_ANNOTATION: &str = "eks.amazonaws.com/audience";
const DEFAULT_AUDIENCE: &str = "sts.amazonaws.com";

/// Where AWS tells its pods who they are.
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const TOKEN_ROLE: &str = "AWS_ROLE_ARN";
const POD_IDENTITY: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const POD_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// What is signed for the server to ask.
const QUESTION: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// The method of the call that is signed.
pub const METHOD: &str = "POST";

/// A call to STS that is signed, for a server to make.
pub struct Question {
    host: String,
    /// By their names as Go writes them.
    headers: Vec<(&'static str, SecretBytes)>,
}

impl Question {
    /// The URL, in base64, as all that follows.
    pub fn url(&self) -> SecretBytes {
        base64(format!("https://{}/", self.host).as_bytes())
    }

    /// The body.
    pub fn body(&self) -> SecretBytes {
        base64(QUESTION.as_bytes())
    }

    /// The headers as an object of lists, as Go writes those of a request: without the host.
    pub fn headers_as_lists(&self) -> SecretBytes {
        let mut out = SecretBuf::default();
        for (n, (name, value)) in self.headers.iter().enumerate() {
            out.push(if n == 0 { b'{' } else { b',' });
            json::write_string(name, &mut out);
            out.extend(b":[");
            json::write_string(value.expose_str().unwrap_or_default(), &mut out);
            out.push(b']');
        }
        out.push(b'}');
        base64(out.expose())
    }

    /// The headers as an object of texts, with the host and the length of the body.
    pub fn headers_as_texts(&self) -> SecretBytes {
        let length = QUESTION.len().to_string();
        let mut fields = vec![("Host", self.host.as_str()), ("Content-Length", &length)];
        fields.extend(self.headers.iter().map(|(name, value)| (*name, value.expose_str().unwrap_or_default())));
        base64(json::object_of_texts(fields).expose())
    }
}

fn base64(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(STANDARD.encode(bytes).into_bytes())
}

/// The host of STS in a region; the oldest one has the name without a region.
pub fn host_of_sts(region: &str) -> String {
    match region {
        "us-east-1" => "sts.amazonaws.com".to_owned(),
        _ => format!("sts.{region}.{}", domain(region, false)),
    }
}

/// A call that asks who signed it, signed for this host and with one more header, which has its name as Go writes it.
///
/// # Errors
/// Those of the port and of the calls to STS; `Invalid` where there is no identity to sign with.
pub async fn question(
    aws: &Aws,
    host: &str,
    more: Option<(&'static str, &str)>,
    shown: &Shown<'_>,
) -> Result<Question, Error> {
    let keys = keys(aws, shown).await?;
    let time = now();
    let mut named = vec![("Content-Type", FORM), ("Host", host), ("X-Amz-Date", &*time)];
    named.extend(token_of(&keys)?.map(|token| ("X-Amz-Security-Token", token)));
    named.extend(more);
    let signed: Vec<(String, &str)> = named.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
    let signed: Vec<(&str, &str)> = signed.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let scope = Scope { time: &time, region: &aws.region, service: "sts" };
    let signature = authorization(&keys, &scope, &signed, QUESTION.as_bytes());
    named.retain(|(name, _)| *name != "Host");
    named.push(("Authorization", &signature));
    let headers = named.into_iter().map(|(name, value)| (name, value.into())).collect();
    Ok(Question { host: host.to_owned(), headers })
}

/// The domains of AWS's services in the public partition, and of those that are reached by IPv6, too.
const PUBLIC: [&str; 2] = ["amazonaws.com", "api.aws"];

/// Regions that are not of it by how they begin, and the domains there.
const PARTITIONS: [(&str, [&str; 2]); 6] = [
    ("cn-", ["amazonaws.com.cn", "api.amazonwebservices.com.cn"]),
    ("eusc-", ["amazonaws.eu", "api.amazonwebservices.eu"]),
    ("us-iso-", ["c2s.ic.gov", "api.aws.ic.gov"]),
    ("us-isob-", ["sc2s.sgov.gov", "api.aws.scloud"]),
    ("us-isof-", ["csp.hci.ic.gov", "api.aws.hci.ic.gov"]),
    ("eu-isoe-", ["cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"]),
];

/// Where the services of a region are, by IPv6 too or not. The region is a label, so that it leads to no other host.
pub fn domain(region: &str, dual_stack: bool) -> &'static str {
    let of_region = PARTITIONS.iter().find(|(start, _)| region.starts_with(start));
    of_region.map_or(PUBLIC, |(_, domains)| *domains)[usize::from(dual_stack)]
}

fn now() -> String {
    // A clock of past all counting signs nothing that anybody takes.
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn token_of(keys: &Keys) -> Result<Option<&str>, Error> {
    match &keys.token {
        Some(token) => token.expose_str().map(Some).ok_or_else(|| Error::invalid("an AWS session token is no text")),
        None => Ok(None),
    }
}

/// The keys to sign with.
async fn keys(aws: &Aws, shown: &Shown<'_>) -> Result<Keys, Error> {
    let sts = sts(&aws.region, shown.ctx)?;
    let keys = match &aws.identity {
        AwsIdentity::Keys { id, secret, token } => kept(id, secret, token.as_ref(), shown).await?,
        AwsIdentity::ServiceAccount(account) => of_service_account(&sts, account, aws, shown).await?,
        AwsIdentity::Operator => of_operator(&sts, aws, shown).await?,
    };
    match &aws.role {
        Some(role) => assume(&sts, aws, &keys, role).await,
        None => Ok(keys),
    }
}

async fn kept(id: &SecretRef, secret: &SecretRef, token: Option<&SecretRef>, shown: &Shown<'_>) -> Result<Keys, Error> {
    let read = async |reference: &SecretRef, field: &str| {
        let field = format!("secretRef.{field}");
        let value = shown.secret(reference, None, &field).await?;
        // Keys have no spaces; files that they were made from often end with a line.
        let text = value.expose().trim_ascii();
        if text.iter().all(u8::is_ascii_graphic) && !text.is_empty() {
            Ok(SecretBytes::new(text.to_vec()))
        } else {
            let field = shown.at(&field);
            Err(Error::invalid(format!("{field} is empty or holds what can't be part of a key")))
        }
    };
    let secret = read(secret, "secretAccessKeySecretRef").await?;
    let id = read(id, "accessKeyIDSecretRef").await?;
    let token = match token {
        Some(token) => Some(read(token, "sessionTokenSecretRef").await?),
        None => None,
    };
    Ok(Keys { id: id.expose_str().unwrap_or_default().to_owned(), secret, token })
}

async fn of_service_account(
    sts: &Service<'_>,
    account: &ServiceAccountRef,
    aws: &Aws,
    shown: &Shown<'_>,
) -> Result<Keys, Error> {
    let field = "jwt.serviceAccountRef";
    let mut annotations = shown.annotations(account, field).await?;
    let audience = annotations.remove(AUDIENCE_ANNOTATION).unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned());
    let Some(role) = annotations.remove(ROLE_ANNOTATION) else {
        return Err(Error::invalid(format!(
            "{}: an IAM role must be associated with the ServiceAccount {:?}: annotate it with {ROLE_ANNOTATION}",
            shown.at(field),
            account.name
        )));
    };
    let token = shown.token(account, &[&audience], field).await?;
    with_token(sts, &role, &token, aws.session, &format!("the ServiceAccount {:?}", account.name)).await
}

/// As AWS's own clients find out whom a pod stands for.
async fn of_operator(sts: &Service<'_>, aws: &Aws, shown: &Shown<'_>) -> Result<Keys, Error> {
    let (field, instead) = (shown.field, aws.instead);
    if !sts.ctx.ambient_identity {
        return Err(Error::invalid(format!(
            "{field} names no credentials, and --ambient-identity keeps this store from using the operator's own AWS identity: \
             {instead}"
        )));
    }
    shown.check_server()?;
    let variable = |name: &str| (sts.ctx.environment)(name).filter(|text| !text.is_empty());
    match (variable(TOKEN_FILE), variable(TOKEN_ROLE), variable(POD_IDENTITY)) {
        (Some(file), Some(role), _) => {
            with_token(sts, &role, &read(&file, TOKEN_FILE).await?, aws.session, "the operator").await
        }
        (_, _, Some(_)) => of_pod(sts.ctx).await,
        _ => Err(Error::invalid(format!(
            "{field} names no credentials, and the operator has no AWS identity: {instead}, or run the operator with \
             {TOKEN_FILE} and {TOKEN_ROLE} (IRSA) or {POD_IDENTITY} (EKS Pod Identity)"
        ))),
    }
}

async fn of_pod(ctx: &BuildContext) -> Result<Keys, Error> {
    let agent = Service::new(("the agent of EKS Pod Identity", "AWS/PodIdentity"), "", &[POD_IDENTITY], ctx)?;
    let token = match (ctx.environment)(POD_TOKEN_FILE).filter(|file| !file.is_empty()) {
        Some(file) => Some(header_value(read(&file, POD_TOKEN_FILE).await?.expose().trim_ascii(), POD_TOKEN_FILE)?),
        None => None,
    };
    let answer = agent
        .ask("GetCredentials", "", |http, url| {
            let request = http.get(url.trim_end_matches('/'));
            match token {
                Some(token) => request.header("authorization", token),
                None => request,
            }
        })
        .await?;
    match answer.status {
        200 => {
            let body = json::object(answer.body.expose()).unwrap_or_default();
            let field = |name: &str| body.get(name).map(|raw| json::to_bytes(raw)).filter(|text| !text.is_empty());
            let (id, secret) = (field("AccessKeyId"), field("SecretAccessKey"));
            let (Some(id), Some(secret)) = (id, secret) else { return Err(agent.malformed()) };
            Ok(Keys { id: id.expose_str().unwrap_or_default().to_owned(), secret, token: field("Token") })
        }
        400..500 if answer.status != 429 => Err(Error::new(
            ErrorKind::Unauthenticated,
            "the agent of EKS Pod Identity gives the operator no credentials: check its association with a role",
        )),
        _ => Err(answer.error),
    }
}

async fn read(file: &str, variable: &str) -> Result<SecretBytes, Error> {
    let bytes = tokio::fs::read(file).await.map(SecretBytes::new);
    bytes.map_err(|_| Error::invalid(format!("the file that {variable} names can't be read")))
}

/// Where STS of a region is. In regions of the US government all of it is of the FIPS kind.
fn url_of_sts(region: &str, fips: bool, dual_stack: bool) -> String {
    let is_fips_anyway = region.starts_with("us-gov-") && !dual_stack;
    let name = if fips && !is_fips_anyway { "sts-fips" } else { "sts" };
    format!("https://{name}.{region}.{}", domain(region, dual_stack))
}

/// STS of a region.
fn sts<'a>(region: &str, ctx: &'a BuildContext) -> Result<Service<'a>, Error> {
    let is_on = |name| (ctx.environment)(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let url = url_of_sts(region, is_on("AWS_USE_FIPS_ENDPOINT"), is_on("AWS_USE_DUALSTACK_ENDPOINT"));
    // External Secrets Operator's own variable, then AWS's.
    let variables = ["AWS_STS_ENDPOINT", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"];
    Service::new(("STS", "AWS/STS"), &url, &variables, ctx)
}

async fn with_token(
    sts: &Service<'_>,
    role: &str,
    token: &SecretBytes,
    session: &str,
    who: &str,
) -> Result<Keys, Error> {
    let body = form(&[
        ("Action", b"AssumeRoleWithWebIdentity"),
        ("Version", b"2011-06-15"),
        ("RoleArn", role.as_bytes()),
        ("RoleSessionName", session.as_bytes()),
        ("WebIdentityToken", token.expose().trim_ascii()),
    ]);
    let answer = sts
        .ask("AssumeRoleWithWebIdentity", "/", |http, url| {
            http.post(url).header("content-type", FORM).body(shared(&body))
        })
        .await?;
    given(sts, answer, || format!("STS does not let {who} be {role}: check the trust policy of the role"))
}

async fn assume(sts: &Service<'_>, aws: &Aws, keys: &Keys, role: &str) -> Result<Keys, Error> {
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("Action", b"AssumeRole"),
        ("Version", b"2011-06-15"),
        ("RoleArn", role.as_bytes()),
        ("RoleSessionName", aws.session.as_bytes()),
    ];
    fields.extend(aws.external_id.as_deref().map(|id| ("ExternalId", id.as_bytes())));
    let body = form(&fields);
    let (host, time) = (sts.host(), now());
    let mut headers = vec![("content-type", FORM), ("host", &*host), ("x-amz-date", &*time)];
    headers.extend(token_of(keys)?.map(|token| ("x-amz-security-token", token)));
    let scope = Scope { time: &time, region: &aws.region, service: "sts" };
    let signature = authorization(keys, &scope, &headers, body.expose());
    headers.retain(|(name, _)| *name != "host");
    headers.push(("authorization", &signature));
    let value = |(name, value): &(&'static str, &str)| Ok((*name, header_value(value.as_bytes(), name)?));
    let headers = headers.iter().map(value).collect::<Result<Vec<_>, Error>>()?;
    let answer = sts
        .ask("AssumeRole", "/", |http, url| {
            let request = http.post(url).body(shared(&body));
            headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
        })
        .await?;
    given(sts, answer, || {
        format!(
            "STS does not let us assume {role}: check the trust policy of the role, the external id and our credentials"
        )
    })
}

/// What STS answered with; `refused` says it where it gives none for what we showed.
fn given(sts: &Service<'_>, answer: Answer, refused: impl Fn() -> String) -> Result<Keys, Error> {
    let text = answer.body.expose_str().unwrap_or_default();
    let code = tag(text, "Code").unwrap_or_default();
    match (answer.status, code) {
        (200, _) => {
            let field = |name| tag(text, name).filter(|text| !text.is_empty());
            let (id, secret) = (field("AccessKeyId"), field("SecretAccessKey"));
            let (Some(id), Some(secret)) = (id, secret) else { return Err(sts.malformed()) };
            Ok(Keys { id: id.to_owned(), secret: secret.into(), token: field("SessionToken").map(Into::into) })
        }
        (_, "Throttling" | "ThrottlingException" | "RequestLimitExceeded") => {
            Err(Error::new(ErrorKind::Throttled, "STS asks us to slow down"))
        }
        (_, "IDPCommunicationError") => Err(Error::new(ErrorKind::Unavailable, "STS can't reach who issued our token")),
        // What we showed, or what the role allows, is wrong; else it is not STS that speaks.
        (400 | 401 | 403, code) if !code.is_empty() => Err(Error::new(ErrorKind::Unauthenticated, refused())),
        _ => Err(answer.error),
    }
}

/// The text of the first element of this name. What is looked for so holds nothing that XML would escape.
fn tag<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_xml() {
        let xml =
            "<R><Credentials><AccessKeyId>id</AccessKeyId>\n<SessionToken> a+/= </SessionToken></Credentials></R>";
        assert_eq!((tag(xml, "AccessKeyId"), tag(xml, "SessionToken")), (Some("id"), Some("a+/=")));
        assert_eq!((tag(xml, "SecretAccessKey"), tag("<Code>x", "Code")), (None, None));
    }

    #[test]
    fn headers_are_lists_without_the_host_or_texts_with_it() {
        let headers = vec![("X-Amz-Date", "d".into()), ("Authorization", "a".into())];
        let question = Question { host: "sts.eu-west-1.amazonaws.com".to_owned(), headers };
        let shown = |base64: SecretBytes| String::from_utf8(STANDARD.decode(base64.expose()).unwrap()).unwrap();
        assert_eq!(shown(question.url()), "https://sts.eu-west-1.amazonaws.com/");
        assert_eq!(shown(question.headers_as_lists()), r#"{"X-Amz-Date":["d"],"Authorization":["a"]}"#);
        assert_eq!(
            shown(question.headers_as_texts()),
            r#"{"Host":"sts.eu-west-1.amazonaws.com","Content-Length":"43","X-Amz-Date":"d","Authorization":"a"}"#
        );
    }

    #[test]
    fn where_sts_is() {
        let hosts = ["us-east-1", "eu-west-1", "cn-north-1"].map(host_of_sts);
        assert_eq!(hosts, ["sts.amazonaws.com", "sts.eu-west-1.amazonaws.com", "sts.cn-north-1.amazonaws.com.cn"]);
        let hosts = ["eusc-de-east-1", "us-iso-east-1", "us-isob-east-1"].map(host_of_sts);
        assert_eq!(
            hosts,
            ["sts.eusc-de-east-1.amazonaws.eu", "sts.us-iso-east-1.c2s.ic.gov", "sts.us-isob-east-1.sc2s.sgov.gov"]
        );
        for (region, fips, dual_stack, expected) in [
            ("eu-west-1", false, false, "https://sts.eu-west-1.amazonaws.com"),
            ("us-east-1", true, false, "https://sts-fips.us-east-1.amazonaws.com"),
            ("us-east-1", true, true, "https://sts-fips.us-east-1.api.aws"),
            ("us-gov-west-1", true, false, "https://sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, true, "https://sts.cn-north-1.api.amazonwebservices.com.cn"),
            ("eusc-de-east-1", false, true, "https://sts.eusc-de-east-1.api.amazonwebservices.eu"),
            ("us-isof-south-1", false, false, "https://sts.us-isof-south-1.csp.hci.ic.gov"),
        ] {
            assert_eq!(url_of_sts(region, fips, dual_stack), expected);
        }
    }

    #[test]
    fn a_time_as_signatures_want_it() {
        let time = now();
        assert_eq!((time.len(), &time[8..9], &time[15..]), (16, "T", "Z"), "{time}");
    }
}
