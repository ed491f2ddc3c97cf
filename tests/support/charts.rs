//! Helm charts with an image in every place where charts have some, and the real `helm`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use fs_err as fs;

use super::releases::tar;
use super::site::Site;

/// A chart's archive of these files.
pub fn packed(name: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let paths: Vec<String> = files.iter().map(|(path, _)| format!("{name}/{path}")).collect();
    let files: Vec<(&str, &[u8])> =
        paths.iter().zip(files).map(|(path, (_, text))| (path.as_str(), text.as_bytes())).collect();
    let mut gzip = Command::new("gzip")
        .arg("-nc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(&tar(&files)).unwrap();
    gzip.wait_with_output().unwrap().stdout
}

/// A chart with a Deployment, a CronJob, a hook, a test and a sub-chart under another name.
pub fn chart(site: &Site, name: &str, version: &str) -> Vec<u8> {
    let host = &site.source.host;
    let document = format!(
        "apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"1\"\nannotations:\n  artifacthub.io/images: |\n    \
         - name: extra\n      image: {host}/acme/extra:1\ndependencies:\n- {{name: sub, version: 0.1.0, alias: other}}\n"
    );
    let values = format!("registry: {host}\ntag: \"1\"\nneeded: \"\"\nlog: debug\n");
    let pod = |image: &str| format!("spec: {{containers: [{{name: c, image: \"{image}\"}}]}}");
    let deployment = format!(
        "kind: Deployment\nmetadata: {{name: {{{{ .Release.Name }}}}-app}}\nspec:\n  template:\n    spec:\n      containers:\n      \
         - name: app\n        image: \"{{{{ .Values.registry }}}}/acme/app:{{{{ .Values.tag }}}}\"\n        env:\n        \
         - {{name: LOG, value: {{{{ .Values.log }}}}}}\n        - {{name: SIDE, value: {host}/acme/side:1}}\n"
    );
    let cron = format!(
        "kind: CronJob\nmetadata: {{name: cron}}\nspec: {{jobTemplate: {{spec: {{template: {{{}}}}}}}}}\n",
        pod(&format!("{host}/acme/cron:1"))
    );
    let hook = |kind: &str, image: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: {kind}, annotations: {{\"helm.sh/hook\": {kind}}}}}\n{}\n",
            pod(&format!("{host}/acme/{image}:1"))
        )
    };
    let sub = format!(
        "kind: Pod\nmetadata: {{name: {{{{ .Chart.Name }}}}}}\n{}\n",
        pod(&format!("{host}/acme/sub:1"))
    );
    packed(
        name,
        &[
            ("Chart.yaml", &document),
            ("values.yaml", &values),
            ("templates/deployment.yaml", &deployment),
            ("templates/cron.yaml", &cron),
            ("templates/hook.yaml", &hook("pre-install", "hook")),
            ("templates/test.yaml", &hook("test", "never")),
            ("charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 0.1.0\n"),
            ("charts/sub/templates/pod.yaml", &sub),
        ],
    )
}

/// The images of such a chart that rendering finds.
pub const IMAGES: [&str; 5] = ["acme/app", "acme/cron", "acme/extra", "acme/hook", "acme/sub"];

pub fn push_images(site: &Site) {
    for name in IMAGES.iter().chain(&["acme/side"]) {
        site.source.image(name, "1", &[name.as_bytes()]);
    }
}

/// What the real `helm` says, with directories of its own.
#[track_caller]
pub fn run_helm(helm: &Path, home: &Path, arguments: &[&str]) -> String {
    fs::create_dir_all(home).unwrap();
    let mut command = Command::new(helm);
    command.env_clear().env("HOME", home).current_dir(home).args(arguments);
    let run = command.output().unwrap();
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}
