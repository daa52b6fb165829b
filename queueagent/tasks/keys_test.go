package tasks

import (
	"strings"
	"testing"
)

// awkwardKeys are names on which wrapping in braces goes wrong if done carelessly.
func awkwardKeys() []string {
	return []string{
		"fastapi:tasks", "{app}:tasks", "a{b}c{d}", "foo}bar", "foo{}bar", "{}", "}", "{", "foo{bar", "}{x}", "}{", "{}{x}",
		"a b\n", "\x00\xff", "queue:default", "{{x}}", "foo{{bar}}", strings.Repeat("long", 100),
	}
}

func TestDerivedKeysAreInTheSlotOfTheSource(t *testing.T) {
	r := newRig(t, "--cluster-enabled", "yes")
	for _, key := range awkwardKeys() {
		want := r.int("CLUSTER", "KEYSLOT", key)
		if got := int64(slotOf(key)); got != want {
			t.Errorf("slotOf(%q) = %d: Redis says %d", key, got, want)
		}
		k := NewKeys("pillion:", "odd}{name", key, "agent{}:1")
		for _, derived := range []string{k.Records, k.Leases, k.Retry, k.Dead, k.Claim, k.Control, k.dedup("x}{y")} {
			if got := r.int("CLUSTER", "KEYSLOT", derived); got != want {
				t.Errorf("%q is in slot %d: %q in %d", derived, got, key, want)
			}
		}
	}
}

func TestHashTag(t *testing.T) {
	for key, want := range map[string]string{
		"fastapi:tasks": "fastapi:tasks", "{app}:tasks": "app", "foo{bar": "foo{bar", "foo{{bar}}": "{bar",
	} {
		if got := hashTag(key); got != want {
			t.Errorf("hashTag(%q) = %q: want %q", key, got, want)
		}
	}
	if got := NewKeys("pillion:", "tasks", "fastapi:tasks", "x").Records; got != "pillion:{fastapi:tasks}:tasks:records" {
		t.Errorf("records are in %q", got)
	}
}

// FuzzHashTag: whatever the source is called, the derived keys are in its slot.
func FuzzHashTag(f *testing.F) {
	for _, key := range awkwardKeys() {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		k := NewKeys("p:", "q", key, "o")
		if got, want := slotOf(k.Records), slotOf(key); got != want {
			t.Errorf("%q is in slot %d: want %d", k.Records, got, want)
		}
		tag, ok := tagOf(k.Records)
		if !ok || tag == "" || strings.Contains(tag, "}") {
			t.Errorf("%q has the tag %q", k.Records, tag)
		}
	})
}

func TestShortTagReachesEverySlot(t *testing.T) {
	for slot := uint16(0); slot < clusterSlots; slot += 37 {
		if tag := shortTag(slot); len(tag) > 4 || crc16(tag)%clusterSlots != slot {
			t.Fatalf("shortTag(%d) = %q", slot, tag)
		}
	}
}
