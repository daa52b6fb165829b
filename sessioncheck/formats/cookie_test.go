package formats

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

const (
	appKey        = "base64:AQIDBAUGBwgBAgMEBQYHCAECAwQFBgcIAQIDBAUGBwg="
	otherKey      = "base64:AAIDBAUGBwgBAgMEBQYHCAECAwQFBgcIAQIDBAUGBwg="
	laravelCookie = "eyJpdiI6IkVSRVJFUkVSRVJFUkVSRVJFUkVSRVE9PSIsInZhbHVlIjoiR3RESUptN1Zha1JBRzBTeDFwblZoMlVzY3RGVGE4TU9TRFZ3aTRQSFY0UTdKWFpPeFFSSmZvNzRVSWMwVU5HMlFPdVp5cnAzZDllUkZiSzRpb2w1Ukp1WnIrVU9DNkU2amNtZmpiSVhuUUgzTWdISTltZFNLeW9YVnpnSWk0b24iLCJtYWMiOiI3YzBiMTIzYmEwNTA5ZDI1ZWJkY2QxZTRjMzE0ODIwMGI2NjY3OGJhNTI2M2ExMmY0ODlmZWM5YjMzMGE5NzViIiwidGFnIjoiIn0%3D"
	// As json_encode writes it without JSON_UNESCAPED_SLASHES, without tag.
	laravelOld    = "eyJpdiI6IkVSRVJFUkVSRVJFUkVSRVJFUkVSRVE9PSIsInZhbHVlIjoiR3RESUptN1Zha1JBRzBTeDFwblZoMlVzY3RGVGE4TU9TRFZ3aTRQSFY0UTdKWFpPeFFSSmZvNzRVSWMwVU5HMlFPdVp5cnAzZDllUkZiSzRpb2w1Ukp1WnIrVU9DNkU2amNtZmpiSVhuUUgzTWdISTltZFNLeW9YVnpnSWk0b24iLCJtYWMiOiI3YzBiMTIzYmEwNTA5ZDI1ZWJkY2QxZTRjMzE0ODIwMGI2NjY3OGJhNTI2M2ExMmY0ODlmZWM5YjMzMGE5NzViIn0%3D"
	expressCookie = "s%3Aabc-DEF_1.yr9QAFZ8crUpcWEnPukwLR9f0LM%2FdK%2FL6pR7j3vAat0"
	flaskCookie   = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.R5-X4H688gM8WwGjostihKFefeg"
	uuid          = "0c1f2a3b-4d5e-6f70-8192-a3b4c5d6e7f8"
)

func verifier(t testing.TB, format string, secrets ...string) Verifier {
	t.Helper()
	v, err := Lookup(format).Verifier(secrets, "")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerifiers(t *testing.T) {
	hex32 := strings.Repeat("0123456789abcdef", 2)
	sum := sha256.Sum256([]byte(hex32))
	laravelID := strings.Repeat("aB3dE6gH9j", 4)
	b64 := base64.StdEncoding.EncodeToString
	for _, tc := range []struct {
		name, format string
		secrets      []string
		value        string
		want         string // empty: refused, at the step of that number
		fault        int
	}{
		{"express", "express", []string{"keyboard cat"}, expressCookie, "abc-DEF_1", 0},
		{"express, rotated", "express", []string{"new", "keyboard cat"}, expressCookie, "abc-DEF_1", 0},
		{"express, not encoded", "express", []string{"keyboard cat"}, "s:abc-DEF_1.yr9QAFZ8crUpcWEnPukwLR9f0LM/dK/L6pR7j3vAat0", "abc-DEF_1", 0},
		{"express, another secret", "express", []string{"new"}, expressCookie, "", 4},
		{"express, a bit of the id", "express", []string{"keyboard cat"}, strings.Replace(expressCookie, "abc", "abd", 1), "", 4},
		{"express, a bit of the signature", "express", []string{"keyboard cat"}, strings.Replace(expressCookie, "yr9", "yr8", 1), "", 4},
		{"express, padded", "express", []string{"keyboard cat"}, expressCookie + "%3D", "", 4},
		{"express, cut", "express", []string{"keyboard cat"}, expressCookie[:len(expressCookie)-1], "", 4},
		{"express, no signature", "express", []string{"keyboard cat"}, "s%3Aabc-DEF_1.", "", 4},
		{"express, no dot", "express", []string{"keyboard cat"}, "s%3Aabc-DEF_1", "", 3},
		{"express, unsigned", "express", []string{"keyboard cat"}, "abc-DEF_1", "", 2},
		{"express, JSON", "express", []string{"keyboard cat"}, "j%3A{}", "", 2},
		{"express, a bad escape", "express", []string{"keyboard cat"}, "s%3", "", 1},
		{"express, empty", "express", []string{"keyboard cat"}, "", "", 2},
		{"express, 8 KB", "express", []string{"keyboard cat"}, "s%3A" + strings.Repeat("a", 8192), "", 1},
		{"flask, raw", "flask", nil, flaskCookie[:43], flaskCookie[:43], 0},
		{"flask, raw with a dot", "flask", nil, flaskCookie, "", 1},
		{"flask, signed", "flask", []string{"secret"}, flaskCookie, flaskCookie[:43], 0},
		{"flask, another secret", "flask", []string{"secrets"}, flaskCookie, "", 2},
		{"flask, unsigned", "flask", []string{"secret"}, flaskCookie[:43], "", 1},
		{"flask, tampered", "flask", []string{"secret"}, "B" + flaskCookie[1:], "", 2},
		{"laravel", "laravel", []string{appKey}, laravelCookie, laravelID, 0},
		{"laravel, older", "laravel", []string{appKey}, laravelOld, laravelID, 0},
		{"laravel, rotated", "laravel", []string{otherKey, appKey}, laravelCookie, laravelID, 0},
		{"laravel, another key", "laravel", []string{otherKey}, laravelCookie, "", 3},
		{"laravel, the id alone", "laravel", []string{appKey}, laravelID, "", 2},
		{"laravel, no base64", "laravel", []string{appKey}, "*", "", 1},
		{"laravel, no MAC", "laravel", []string{appKey}, b64([]byte(`{"iv":"a","value":"b"}`)), "", 2},
		{"laravel, GCM", "laravel", []string{appKey}, b64([]byte(`{"iv":"a","value":"b","mac":"","tag":"x"}`)), "", 2},
		{"laravel, an empty MAC", "laravel", []string{appKey}, b64([]byte(`{"iv":"a","value":"b","mac":""}`)), "", 3},
		{"django", "django", nil, hex32, hex32, 0},
		{"django, upper case", "django", nil, strings.ToUpper(hex32), "", 1},
		{"django, short", "django", nil, hex32[1:], "", 1},
		{"php", "php", nil, "abcDEF0123456789,-abcdef", "abcDEF0123456789,-abcdef", 0},
		{"php, a path", "php", nil, "../../../etc/passwd-abcdef", "", 1},
		{"rails", "rails", nil, hex32, "2::" + hex.EncodeToString(sum[:]), 0},
		{"rails, a private id", "rails", nil, "2::" + hex.EncodeToString(sum[:]), "", 1},
		{"spring", "spring", nil, b64([]byte(uuid)), uuid, 0},
		{"spring, a route", "spring", nil, b64([]byte(uuid + ".node-1")), uuid, 0},
		{"spring, not encoded", "spring", nil, uuid, "", 1},
		{"spring, a pattern", "spring", nil, b64([]byte("*" + uuid[1:])), "", 2},
		{"starsessions", "starsessions", nil, hex32, hex32, 0},
		{"starsessions, a pattern", "starsessions", nil, "*" + hex32[1:], "", 1},
		{"scs", "scs", nil, strings.Repeat("a_-", 14) + "b", strings.Repeat("a_-", 14) + "b", 0},
		{"scs, long", "scs", nil, strings.Repeat("a", 44), "", 1},
		{"presence", "presence", nil, "any.id:1", "any.id:1", 0},
		{"presence, NUL", "presence", nil, "a\x00", "", 1},
		{"json, CR LF", "json", nil, "a\r\n", "", 1},
	} {
		v := verifier(t, tc.format, tc.secrets...)
		before := "before"
		got, fault := v.AppendID([]byte(before), []byte(tc.value))
		if string(got) != before+tc.want || fault != tc.fault {
			t.Errorf("%s: %q, step %d, want %q, step %d", tc.name, got, fault, before+tc.want, tc.fault)
		}
		if fault > len(v.Steps()) {
			t.Errorf("%s: step %d of %d", tc.name, fault, len(v.Steps()))
		}
	}
}

// Any single changed character of a signed cookie is refused.
func TestTampering(t *testing.T) {
	for _, tc := range []struct{ format, secret, cookie string }{
		{"express", "keyboard cat", expressCookie}, {"flask", "secret", flaskCookie}, {"laravel", appKey, laravelCookie},
	} {
		v := verifier(t, tc.format, tc.secret)
		want, _ := v.AppendID(nil, []byte(tc.cookie))
		for i := range tc.cookie {
			for _, c := range []byte("aA0%.=*") {
				changed := []byte(tc.cookie)
				if changed[i] == c {
					continue
				}
				changed[i] = c
				// A changed byte that decodes to the same text, such as %2f for %2F or the
				// unused bits of base64, leaves what is signed as it was.
				if got, fault := v.AppendID(nil, changed); fault == 0 && string(got) != string(want) {
					t.Fatalf("%s: %q gives %q", tc.format, changed, got)
				}
			}
		}
	}
}

func TestLaravelCookieOfAnotherName(t *testing.T) {
	v, err := Lookup("laravel").Verifier([]string{appKey}, "XSRF-TOKEN")
	if err != nil {
		t.Fatal(err)
	}
	if _, fault := v.AppendID(nil, []byte(laravelCookie)); fault != 5 {
		t.Errorf("step %d, want 5", fault)
	}
}

func TestLaravelKeys(t *testing.T) {
	for _, bad := range []string{"short", "base64:*", "base64:AQID"} {
		if _, err := Lookup("laravel").Verifier([]string{bad}, ""); err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestVerifiersDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop at random under the race detector")
	}
	for _, tc := range []struct {
		format, cookie string
		secrets        []string
	}{
		{"express", expressCookie, []string{"new", "keyboard cat"}}, {"flask", flaskCookie, []string{"secret"}},
		{"laravel", laravelCookie, []string{otherKey, appKey}}, {"rails", strings.Repeat("a", 32), nil},
		{"spring", base64.StdEncoding.EncodeToString([]byte(uuid)), nil}, {"django", strings.Repeat("a", 32), nil},
	} {
		v := verifier(t, tc.format, tc.secrets...)
		buf, value := make([]byte, 0, 4096), []byte(tc.cookie)
		if n := testing.AllocsPerRun(200, func() {
			if _, fault := v.AppendID(buf, value); fault != 0 {
				t.Fatal(tc.format, fault)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", tc.format, n)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, tc := range []struct {
		format, cookie string
		secrets        []string
	}{
		{"express", expressCookie, []string{"keyboard cat"}}, {"flask", flaskCookie, []string{"secret"}}, {"laravel", laravelCookie, []string{appKey}},
	} {
		b.Run(tc.format, func(b *testing.B) {
			v, buf, value := verifier(b, tc.format, tc.secrets...), make([]byte, 0, 4096), []byte(tc.cookie)
			b.ReportAllocs()
			for b.Loop() {
				v.AppendID(buf, value)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	verifiers := map[string]Verifier{"flask signed": verifier(f, "flask", "secret")}
	for _, name := range Names() {
		secrets := map[string]string{"express": "keyboard cat", "laravel": appKey}
		verifiers[name] = verifier(f, name, secrets[name])
		if secrets[name] == "" {
			verifiers[name] = verifier(f, name)
		}
	}
	for _, s := range []string{expressCookie, laravelCookie, flaskCookie, base64.StdEncoding.EncodeToString([]byte(uuid + ".a")), "abc"} {
		f.Add([]byte(s))
	}
	ids := newSyntax(1, maxIDBytes, anyIDChars+",")
	f.Fuzz(func(t *testing.T, value []byte) {
		before := slices.Clone(value)
		for name, v := range verifiers {
			id, fault := v.AppendID(nil, value)
			if fault == 0 && !ids.valid(id) {
				t.Fatalf("%s: id %q", name, id)
			}
			if fault < 0 || fault > len(v.Steps()) || fault > 0 && len(id) > 0 {
				t.Fatalf("%s: step %d, %q", name, fault, id)
			}
			if !slices.Equal(value, before) {
				t.Fatalf("%s changed the request", name)
			}
		}
	})
}
