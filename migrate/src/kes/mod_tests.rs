use super::*;

#[test]
fn files_are_read_and_manifests_and_a_report_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let old = "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: kubernetes-client.io/v1\nkind: ExternalSecret\nmetadata: {name: a}\nspec:\n  \
               backendType: secretsManager\n  data:\n  - {key: k, name: n}\n";
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("in/a.yaml"), old).unwrap();
    fs::write(folder.path().join("in/b.yaml"), "apiVersion: kubernetes-client.io/v1\nkind: {{ x }\n").unwrap();
    fs::write(folder.path().join("in/c.txt"), old).unwrap();
    let run = |args: &Kes| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let stand = run(args, &mut out, &mut err).unwrap();
        (stand, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let mut args = Kes { paths: vec![folder.path().to_owned()], refresh_interval: "1m".into(), ..Kes::default() };
    let (stand, out, err) = run(&args);
    assert_eq!(stand, Stand::Failed);
    assert!(out.starts_with("---\napiVersion: external-secrets.io/v1\nkind: SecretStore\n"), "{out}");
    assert!(
        err.contains("b.yaml: 2: it is not YAML")
            && err.contains(
                "a.yaml:4: ExternalSecret /a: to do: SecretStore \"secretsmanager\": spec.provider.aws.region"
            ),
        "{err}"
    );
    assert!(
        err.ends_with("1 ExternalSecrets of kubernetes-client.io: 1 carried over, with 1 stores; 1 to do, 0 lost\n"),
        "{err}"
    );
    args.place.region = Some("eu-west-1".into());
    args.out = Some(folder.path().join("new"));
    fs::write(folder.path().join("new"), "of before").unwrap();
    let (stand, out, err) = run(&args);
    assert_eq!((stand, out.as_str()), (Stand::Failed, ""));
    assert!(err.contains("nothing was written to ") && err.contains("b.yaml: 2: it is not YAML"), "{err}");
    assert_eq!(fs::read_to_string(folder.path().join("new")).unwrap(), "of before");
    fs::remove_file(folder.path().join("in/b.yaml")).unwrap();
    // Neither by its name nor by that of a link to it.
    std::os::unix::fs::symlink("in/a.yaml", folder.path().join("link")).unwrap();
    for name in ["in/a.yaml", "link"] {
        let (stand, _, err) = run(&Kes { out: Some(folder.path().join(name)), ..args.clone() });
        assert!(stand == Stand::Failed && err.contains("is one of the old manifests"), "{err}");
        assert_eq!(fs::read_to_string(folder.path().join("in/a.yaml")).unwrap(), old);
    }
    let (stand, out, _) = run(&args);
    assert_eq!((stand, out.as_str()), (Stand::Clear, ""));
    assert_eq!(fs::read_to_string(folder.path().join("new")).unwrap().matches("---\n").count(), 2);
}
