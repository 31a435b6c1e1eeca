// Command kubectl is kubectl alone: it starts in half the time that the binary with all of
// Kubernetes in it needs, and tests call it thousands of times.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
)

func main() {
	os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
}
