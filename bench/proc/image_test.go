package proc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// imageOf measures an image of these lines, with a program of 10,000 equal bytes.
func imageOf(t *testing.T, lines ...string) (plain, packed int64, err error) {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certs := write("certs.crt", strings.Repeat("c", 600))
	write("Dockerfile", strings.ReplaceAll(strings.Join(lines, "\n"), "CERTS", certs))
	return ImageSize(root, write("program", strings.Repeat("p", 10_000)))
}

func TestImageSize(t *testing.T) {
	first := []string{"FROM --platform=$P golang:1 AS build", "COPY . .", "RUN go build", "FROM scratch"}
	with := func(lines ...string) []string { return append(first[:len(first):len(first)], lines...) }
	// A tar file has a header of 512 bytes for each file and folder, contents in whole
	// blocks of 512, and ends with two blocks.
	const program, end = 512 + 20*512, 2 * 512
	for _, tc := range []struct {
		lines []string
		plain int64
		err   string
	}{
		{with("# COPY x", "COPY --from=build /pillion /pillion", "USER 1"), program + end, ""},
		{with("COPY --from=build CERTS /etc/ssl/ca.crt", "COPY --from=build CERTS /etc/ssl/b.crt", "COPY --from=build /pillion /pillion"),
			2*512 + 2*(512+1024) + program + end, ""},
		{with("COPY --from=build /nowhere /x"), 0, "/nowhere"},
		{append([]string{`RUN mkdir -p "/licenses/a" && \`, ` echo x > "/licenses/a/LICENSE"`}, with("COPY --from=build /licenses /l", "COPY --from=build /pillion /pillion")...),
			2*512 + 1024 + program + end, ""},
		{append([]string{`RUN echo "/licenses/" >&2; exit 3`}, with("COPY --from=build /licenses /l")...), 0, "exit status 3"},
		{with("COPY --from=build /licenses /l"), 0, "no RUN"},
		{with("COPY --from=build /pillion /pillion", "COPY extra /"), 0, `"COPY extra /" adds`},
		{with("COPY --from=build /pillion /pillion", "RUN x"), 0, `"RUN x" adds`},
		{with(), 0, "its last stage"},
		{[]string{"FROM alpine", "COPY --from=build /pillion /pillion"}, 0, "its last stage"},
	} {
		plain, packed, err := imageOf(t, tc.lines...)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: %v, want an error with %q", tc.lines, err, tc.err)
			}
			continue
		}
		if err != nil || plain != tc.plain || packed <= 0 || packed > plain/10 {
			t.Errorf("%q: %d bytes, %d compressed, %v; want %d, and much less", tc.lines, plain, packed, err, tc.plain)
		}
	}
	if _, _, err := ImageSize(t.TempDir(), "/nowhere"); err == nil {
		t.Error("without a Dockerfile: no error")
	}
}
