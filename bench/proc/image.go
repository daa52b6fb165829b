package proc

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ImageSize is the size of the image that the Dockerfile below root describes, with this
// program in it: of the files that its last stage copies, as one layer, and of that layer
// compressed, as registries keep it. No engine is needed: beside the program there are
// only files of the system, which are read on this machine.
func ImageSize(root, program string) (plain, packed int64, err error) {
	files, err := lastStage(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return 0, 0, err
	}
	var raw, compressed counter
	zip := gzip.NewWriter(&compressed)
	layer := tar.NewWriter(io.MultiWriter(&raw, zip))
	dirs := map[string]bool{}
	for _, f := range files {
		if f.from == builtProgram {
			f.from = program
		}
		if err := f.add(layer, dirs); err != nil {
			return 0, 0, fmt.Errorf("the size of the image: %w", err)
		}
	}
	if err := layer.Close(); err != nil {
		return 0, 0, err
	}
	if err := zip.Close(); err != nil {
		return 0, 0, err
	}
	return raw.n, compressed.n, nil
}

// builtProgram is what the Dockerfile calls the program in its first stage.
const builtProgram = "/pillion"

// copied is a COPY of one file.
type copied struct{ from, to string }

// lastStage gives the files that the last stage adds to nothing.
func lastStage(dockerfile string) (files []copied, err error) {
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return nil, err
	}
	base := ""
	for line := range strings.Lines(string(text)) {
		words := append(strings.Fields(line), "")
		switch adds := slices.Contains([]string{"COPY", "ADD", "RUN"}, words[0]); {
		case words[0] == "FROM":
			base, files = words[len(words)-2], nil
		case base != "scratch" || !adds:
		case len(words) == 5 && words[0] == "COPY" && words[1] == "--from=build":
			files = append(files, copied{words[2], words[3]})
		default:
			return nil, fmt.Errorf("%s: %q adds to the image what is not counted", dockerfile, strings.TrimSpace(line))
		}
	}
	if base != "scratch" || len(files) == 0 {
		return nil, fmt.Errorf("%s: its last stage is not FROM scratch with files of the stage build", dockerfile)
	}
	return files, nil
}

// add writes the file, after the folders that it is the first in.
func (c copied) add(layer *tar.Writer, dirs map[string]bool) error {
	for i, r := range c.to {
		dir := strings.TrimPrefix(c.to[:i], "/")
		if r != '/' || dir == "" || dirs[dir] {
			continue
		}
		dirs[dir] = true
		if err := layer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	f, err := os.Open(c.from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	err = layer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(strings.TrimPrefix(c.to, "/")), Mode: 0o755, Size: info.Size()})
	if err != nil {
		return err
	}
	_, err = io.Copy(layer, f)
	return err
}

// counter counts what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
