package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// await fills the cluster and waits until it works.
func (c Cluster) await() error {
	archives, _ := filepath.Glob(in("images/*.tar"))
	_, pids := machines()
	for i := 1; i <= c.Nodes; i++ {
		err := within(pids[fmt.Sprintf("node%d", i)], func() error {
			return run("timeout", "60", "sh", "-c", "until ctr version; do sleep .1; done >/dev/null 2>&1")
		})
		if err != nil {
			return err
		}
	}
	if err := loadImages(archives); err != nil {
		return err
	}
	step("images loaded")
	if err := awaitAPI(); err != nil {
		return err
	}
	step("API server ready")
	manifests := []string{strings.ReplaceAll(asset("cluster.yaml"), "CLUSTER_DOMAIN", c.Domain)}
	for i := 1; i <= c.Nodes; i++ {
		node := fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: node%d}, spec: {podCIDR: %s, podCIDRs: [%s]}}",
			i, podCIDR(i), c.ranges(podCIDR(i), podCIDR6(i)))
		if i == 1 {
			node = strings.Replace(node, "node1}", "node1, labels: {node-role.kubernetes.io/control-plane: ''}}", 1)
		}
		manifests = slices.Insert(manifests, 0, node)
	}
	if _, err := kubectlWith(strings.Join(manifests, "\n---\n"), "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	if err := applyUsers(); err != nil {
		return err
	}
	step("manifests applied")
	if err := kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=90s"); err != nil {
		return err
	}
	step("nodes ready")
	if err := kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s"); err != nil {
		return err
	}
	step("cluster DNS ready")
	for _, namespace := range []string{"default", "dev", "lax", "quota"} { // without the account no pod can be made
		if err := kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=30s"); err != nil {
			return err
		}
	}
	step("up: export KUBECONFIG=%s", kubeconfig("admin"))
	text, err := json.Marshal(c)
	return errors.Join(err, os.WriteFile(complete(), text, 0o644))
}

// applyUsers gives the users their rights: those of config/users.yaml and, to the
// developer, the one role of the file which says what ktctl needs, just as it stands there.
func applyUsers() error {
	role, err := os.ReadFile(os.Getenv("KT_TESTBED_ROLE"))
	if err != nil {
		return fmt.Errorf("the developer's role (KT_TESTBED_ROLE): %w", err)
	}
	if _, err := kubectlWith(asset("users.yaml"), "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		return err
	}
	applied, err := kubectlWith(string(role), "apply", "--server-side", "--force-conflicts", "-n", "dev", "-o", "name", "-f", "-")
	if err != nil {
		return err
	}
	name, ok := strings.CutPrefix(strings.TrimSpace(applied), "role.rbac.authorization.k8s.io/")
	if !ok || strings.Contains(name, "\n") {
		return fmt.Errorf("%s must hold one Role, but holds %q", os.Getenv("KT_TESTBED_ROLE"), applied)
	}
	_, err = kubectlWith(strings.Replace(asset("developer.yaml"), "name: ROLE", "name: "+name, 1), "auth", "reconcile", "-f", "-")
	return err
}

// kubectlWith runs kubectl as the administrator, with something to read.
func kubectlWith(stdin string, args ...string) (string, error) {
	c := exec.Command(in("bin/kubectl"), append([]string{"--kubeconfig", kubeconfig("admin")}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return string(out), nil
}

func kubectl(args ...string) error {
	return run(append([]string{in("bin/kubectl"), "--kubeconfig", kubeconfig("admin")}, args...)...)
}

func awaitAPI() error {
	for deadline := time.Now().Add(90 * time.Second); !answers(apiReady); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("the API server does not answer: see testbed logs node1/kube-apiserver")
		}
	}
	return nil
}
