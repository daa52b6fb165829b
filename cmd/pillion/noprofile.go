//go:build !profile

package main

// profiled runs fn. A program that is built with the tag "profile" leaves a CPU profile.
func profiled(fn func() error) error { return fn() }
