package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// An Image is what an image archive (OCI layout) is made of: one layer with
// files, each given as FILE[:PATH]; without a PATH the file lies in the root folder.
// A FILE that starts with "@" is the target of a symbolic link.
type Image struct {
	name       string
	user       string // number of the user that the container runs as; "" is root
	files      []string
	entrypoint []string
}

func (image Image) write(out string) error {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, dir := range []string{"tmp/", "etc/", "bin/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Mode: 0o1777, Typeflag: tar.TypeDir}); err != nil {
			return err
		}
	}
	for _, f := range image.files {
		from, to, ok := strings.Cut(f, ":")
		if !ok {
			to = "/" + filepath.Base(from)
		}
		header, content := &tar.Header{Name: strings.TrimPrefix(to, "/"), Mode: 0o755}, []byte(nil)
		if target, link := strings.CutPrefix(from, "@"); link {
			header.Typeflag, header.Linkname = tar.TypeSymlink, target
		} else {
			var err error
			if content, err = os.ReadFile(from); err != nil {
				return err
			}
			header.Size = int64(len(content))
		}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		w.Write(content)
	}
	if err := w.Close(); err != nil {
		return err
	}
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"User": image.user, "Entrypoint": image.entrypoint, "Env": []string{"PATH=/bin:/"}, "WorkingDir": "/"},
		"rootfs": object{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	return image.archive(out, config, layer.Bytes())
}

type object = map[string]any

// archive writes an OCI image layout, with the list beside it by which older tools
// (`docker load`) find its parts.
func (image Image) archive(out string, config, layer []byte) error {
	const oci = "application/vnd.oci.image."
	blob := func(kind string, content []byte) object {
		return object{"mediaType": oci + kind, "digest": digest(content), "size": len(content)}
	}
	manifest, _ := json.Marshal(object{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
		"config": blob("config.v1+json", config), "layers": []object{blob("layer.v1.tar", layer)}})
	entry := blob("manifest.v1+json", manifest)
	_, tag, _ := strings.Cut(image.name[strings.LastIndexByte(image.name, '/')+1:], ":")
	entry["annotations"] = object{"io.containerd.image.name": familiar(image.name), "org.opencontainers.image.ref.name": tag}
	index, _ := json.Marshal(object{"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": []object{entry}})
	list, _ := json.Marshal([]object{{"Config": blobFile(config), "RepoTags": []string{image.name}, "Layers": []string{blobFile(layer)}}})

	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, part := range []struct {
		name    string
		content []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion": "1.0.0"}`)}, {"index.json", index}, {"manifest.json", list},
		{blobFile(manifest), manifest}, {blobFile(config), config}, {blobFile(layer), layer},
	} {
		w.WriteHeader(&tar.Header{Name: part.name, Mode: 0o644, Size: int64(len(part.content))})
		w.Write(part.content)
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, archive.Bytes(), 0o644)
}

// familiar is an image's name as containerd keeps it: with the registry that Kubernetes
// takes for a name without one.
func familiar(name string) string {
	first, _, many := strings.Cut(name, "/")
	switch {
	case many && (strings.ContainsAny(first, ".:") || first == "localhost"):
		return name
	case many:
		return "docker.io/" + name
	default:
		return "docker.io/library/" + name
	}
}

func blobFile(content []byte) string {
	return fmt.Sprintf("blobs/sha256/%x", sha256.Sum256(content))
}

func digest(content []byte) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(content))
}

// buildImages packs the test bed's own images, unless they are newer than its binaries.
func buildImages() error {
	images := map[string][]string{"pause": nil, "coredns": nil, "echo": nil}
	for _, shell := range []string{"/bin/busybox", "/usr/bin/busybox"} { // where there is a static one
		if _, err := os.Stat(shell); err == nil {
			files := []string{shell + ":/bin/busybox"}
			for _, tool := range strings.Fields("sh cat ls env grep sort head wc dd sleep id ps kill hostname ip nc nslookup") {
				files = append(files, "@busybox:/bin/"+tool)
			}
			images["shell"] = files
			images["echo"] = files
			break
		}
	}
	for name, files := range images {
		image := Image{name: path.Join("testbed", name) + ":local", files: files, entrypoint: []string{"/" + name}}
		binary, out := in("bin", name), in("images", name+".tar")
		switch name {
		case "shell":
			binary, _, _ = strings.Cut(files[0], ":")
			image.entrypoint, image.user = []string{"/bin/sh"}, ordinaryUser
		case "echo":
			image.user = ordinaryUser
			fallthrough
		default:
			image.files = append(slices.Clone(files), binary)
		}
		if newer(out, binary) && newer(out, in("bin/kt-testbed")) {
			continue
		}
		if err := image.write(out); err != nil {
			return err
		}
	}
	return nil
}

// ordinaryUser is the one that containers run as where root is not allowed.
const ordinaryUser = "65532"

func newer(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && infoA.ModTime().After(infoB.ModTime())
}

func buildImageCommand(args []string) error {
	var image Image
	if i := slices.Index(args, "--"); i >= 0 {
		args, image.entrypoint = args[:i], args[i+1:]
	}
	flags := flag.NewFlagSet("build-image", flag.ExitOnError)
	flags.StringVar(&image.user, "user", "", "number of the user that the container runs as")
	flags.Parse(args)
	if args = flags.Args(); len(args) < 3 {
		return errors.New("usage: testbed build-image [--user NUMBER] NAME OUT FILE[:PATH]... [-- ENTRYPOINT...]")
	}
	image.name, image.files = args[0], args[2:]
	return image.write(args[1])
}

// loadImages imports image archives, whatever folder they lie in, on every node.
func loadImages(archives []string) error {
	names, pids := machines()
	results, imports := make(chan error), 0
	for _, name := range names {
		if strings.HasPrefix(name, "node") && pids[name] != "" {
			imports++
			go func() { results <- importImages(pids[name], archives) }()
		}
	}
	var errs []error
	for range imports {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

func importImages(pid string, archives []string) error {
	for _, archive := range archives {
		f, err := os.Open(archive)
		if err != nil {
			return err
		}
		defer f.Close()
		err = within(pid, func() error {
			c := exec.Command("ctr", "-n", "k8s.io", "images", "import", "-")
			c.Stdin = f
			out, err := c.CombinedOutput()
			if err != nil {
				return fmt.Errorf("import %s: %w: %s", archive, err, out)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
