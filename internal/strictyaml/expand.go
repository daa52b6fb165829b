package strictyaml

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxSecret bounds the file of one secret, in bytes.
const MaxSecret = 64 << 10

// expand substitutes variables in a scalar and, for a secret, reads its file.
// Both happen after the document was parsed, so a value cannot add structure.
func (d *decoder) expand(n *yaml.Node, text string, at place) (string, bool) {
	out, p := d.variables(text)
	if p == nil && at.secret != "" {
		out, p = ReadSecret(out, d.opts.ReadFile)
	}
	if p != nil {
		d.add(n, Mistake{Key: at.path, Message: p.Message, Remedy: p.Remedy})
		return "", false
	}
	return out, true
}

// variables replaces ${NAME} and ${NAME:-default}; "$$" stands for one "$".
func (d *decoder) variables(text string) (string, *Problem) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		switch {
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "{"):
			inner, rest, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", &Problem{"has a ${ without a }", "write ${NAME} or ${NAME:-default}, or $$ for a dollar sign"}
			}
			value, p := d.variable(inner)
			if p != nil {
				return "", p
			}
			out.WriteString(value)
			text = rest
		default:
			out.WriteByte('$')
			text = after
		}
	}
}

func (d *decoder) variable(inner string) (string, *Problem) {
	name, def, hasDefault := strings.Cut(inner, ":-")
	if !isVariable(name) || strings.Contains(def, "${") {
		return "", &Problem{"has a ${…} that is not a variable", "write ${NAME} or ${NAME:-default}, or $$ for a dollar sign"}
	}
	d.res.Variables[name] = true
	if d.opts.Lookup != nil {
		if v, ok := d.opts.Lookup(name); ok && (v != "" || !hasDefault) {
			return v, nil
		}
	}
	if !hasDefault {
		return "", &Problem{fmt.Sprintf("the variable %s is not set", name), fmt.Sprintf("set it, or write ${%s:-default}", name)}
	}
	return def, nil
}

func isVariable(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && !(i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// ReadSecret gives the content of the file that text names as file:/path,
// without the newline at its end. Any other text is the secret itself.
func ReadSecret(text string, readFile func(string) ([]byte, error)) (string, *Problem) {
	path, ok := strings.CutPrefix(text, "file:")
	if !ok {
		return text, nil
	}
	shown := shorten(path)
	if !filepath.IsAbs(path) {
		return "", &Problem{fmt.Sprintf("the secret's file %q is not an absolute path", shown), "write file:/path/to/secret"}
	}
	if readFile == nil {
		readFile = func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	}
	data, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", &Problem{fmt.Sprintf("the secret's file %q does not exist", shown), "create it, or name the file that holds the secret"}
	case err != nil:
		return "", &Problem{fmt.Sprintf("the secret's file %q cannot be read (%s)", shown, reason(err)), "let this process read it"}
	case len(data) > MaxSecret:
		return "", &Problem{fmt.Sprintf("the secret's file %q has more than %d bytes", shown, MaxSecret), "name the file that holds the secret alone"}
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if secret == "" {
		return "", &Problem{fmt.Sprintf("the secret's file %q is empty", shown), "write the secret into it"}
	}
	return secret, nil
}

// reason gives an error without the path, which the message already names.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}
