package main

func fixtures(folder string) error { return nil }
