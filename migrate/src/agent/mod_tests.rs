use super::*;

#[tokio::test]
async fn files_are_read_and_manifests_a_report_and_commands_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let pod = "kind: Deployment\nmetadata: {name: app}\nspec:\n  template:\n    metadata:\n      annotations:\n        \
               vault.hashicorp.com/agent-inject: 'true'\n        \
               vault.hashicorp.com/agent-inject-template-a: '{{ with secret \"kv/a\" }}{{ .Data.x }}{{ end }}'\n";
    fs::write(folder.path().join("a.yaml"), pod).unwrap();
    fs::write(folder.path().join("b.yaml"), "kind: Pod\n# vault.hashicorp.com/agent-inject\n x: {{ y }\n").unwrap();
    let args =
        VaultAgent { paths: vec![folder.path().to_owned()], refresh_interval: "5m".into(), ..VaultAgent::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let stand = run(&args, &mut out, &mut err).await.unwrap();
    let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
    assert_eq!(stand, Stand::Failed);
    assert!(out.starts_with("---\napiVersion: external-secrets.io/v1\nkind: SecretStore\n"), "{out}");
    assert!(err.contains("b.yaml: ") && err.contains("it is not YAML"), "{err}");
    assert!(
        err.contains("a.yaml:1: Deployment /app: to do: SecretStore \"vault-kv\": spec.provider.vault.server: set it"),
        "{err}"
    );
    assert!(err.contains("\nkubectl patch deployment app --type merge --patch '{"), "{err}");
    assert!(err.ends_with("1 ExternalSecrets and 1 stores; 3 to do, 0 lost\n"), "{err}");
}
