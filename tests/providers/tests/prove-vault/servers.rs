//! HashiCorp's Vault, and an LDAP server, each a process of its own that ends with its handle.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyferry_testkit::Vault;
use reqwest::Method;
use tempfile::TempDir;

/// Keys that moto takes for those of its account's root.
pub const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";

const ROOT: &str = "root-of-tests";

/// A program that ends with its handle.
struct Process(Child);

impl Process {
    fn start(mut command: Command, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What can't be ended has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Vault that keeps everything in memory.
pub struct Server {
    url: String,
    _process: Process,
    _folder: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let program =
            std::env::var_os("VAULT_PROGRAM").expect("VAULT_PROGRAM names the program: make prove-vault sets it");
        let (folder, address) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", free_port()));
        let mut command = Command::new(program);
        command.args([
            "server",
            "-dev",
            "-dev-no-store-token",
            "-dev-root-token-id",
            ROOT,
            "-dev-listen-address",
            &address,
        ]);
        let process = Process::start(command, &folder.path().join("log"));
        let server = Self { url: format!("http://{address}"), _process: process, _folder: folder };
        for n in 0.. {
            // The engine at `secret` is there when this is.
            match server.client().send(Method::GET, "secret/config", None).await {
                Ok((status, _)) if status.is_success() => break,
                _ => assert!(n < 600, "Vault does not come up"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        server
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn client(&self) -> Vault {
        Vault::new(&self.url, ROOT, None).unwrap()
    }
}

/// An LDAP server with the user `app`.
pub struct Ldap {
    url: String,
    _process: Process,
    _folder: TempDir,
}

impl Ldap {
    pub fn start(password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("db")).unwrap();
        let schemas =
            ["core", "cosine", "inetorgperson"].map(|name| format!("include /etc/ldap/schema/{name}.schema\n"));
        let config = format!(
            "{}modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {}\ndatabase mdb\nsuffix dc=lab\ndirectory {}\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n",
            schemas.concat(),
            at("pid").display(),
            at("db").display()
        );
        std::fs::write(at("conf"), config).unwrap();
        let entries = format!(
            "dn: dc=lab\nobjectClass: dcObject\nobjectClass: organization\ndc: lab\no: lab\n\n\
             dn: uid=app,dc=lab\nobjectClass: inetOrgPerson\nuid: app\ncn: app\nsn: app\nuserPassword: {password}\n"
        );
        std::fs::write(at("entries"), entries).unwrap();
        let add =
            Command::new("/usr/sbin/slapadd").arg("-f").arg(at("conf")).arg("-l").arg(at("entries")).output().unwrap();
        assert!(add.status.success(), "slapadd: {}", String::from_utf8_lossy(&add.stderr));
        let port = free_port();
        let url = format!("ldap://127.0.0.1:{port}");
        let mut command = Command::new("/usr/sbin/slapd");
        // With a level of logs it stays in the foreground.
        command.arg("-f").arg(at("conf")).args(["-h", &url, "-d", "0"]);
        let process = Process::start(command, &at("log"));
        for n in 0.. {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            assert!(n < 100, "slapd does not come up");
            std::thread::sleep(Duration::from_millis(100));
        }
        Self { url, _process: process, _folder: folder }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Whom moto takes the holder of the keys for.
pub async fn caller(moto: &str) -> String {
    let scope = format!("{KEY_ID}/20260101/us-east-1/sts/aws4_request");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(moto)
        .header("Authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("Action=GetCallerIdentity&Version=2011-06-15")
        .send()
        .await
        .unwrap();
    let text = answer.text().await.unwrap();
    let (_, rest) = text.split_once("<Arn>").expect("an ARN");
    // Vault speaks of identities by their names in IAM.
    rest.split_once("</Arn>").expect("an ARN").0.replace(":sts:", ":iam:")
}
