// Prints the protobuf fields of the built-in kinds the API server takes, for
// devcluster/src/apiserver/protobuf/fields.txt:
//
//	go run ./fields > ../../src/apiserver/protobuf/fields.txt
//
// A line without indentation names a message; the indented lines below it are its fields:
// number, JSON name ("-" when its fields are the parent's), and type. "[]" marks a list, "{}" a
// map from strings, "*" a field whose zero value differs from its absence.
package main

import (
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscaling "k8s.io/api/autoscaling/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What requests have as their body.
var roots = map[string]any{
	"v1 ConfigMap":                          core.ConfigMap{},
	"v1 Event":                              core.Event{},
	"v1 Namespace":                          core.Namespace{},
	"v1 Node":                               core.Node{},
	"v1 Pod":                                core.Pod{},
	"v1 Secret":                             core.Secret{},
	"v1 Service":                            core.Service{},
	"v1 ServiceAccount":                     core.ServiceAccount{},
	"v1 Binding":                            core.Binding{},
	"v1 DeleteOptions":                      meta.DeleteOptions{},
	"apps/v1 Deployment":                    apps.Deployment{},
	"apps/v1 ReplicaSet":                    apps.ReplicaSet{},
	"authentication.k8s.io/v1 TokenRequest": authentication.TokenRequest{},
	"authentication.k8s.io/v1 TokenReview":  authentication.TokenReview{},
	"authentication.k8s.io/v1 SelfSubjectReview":       authentication.SelfSubjectReview{},
	"authorization.k8s.io/v1 LocalSubjectAccessReview": authorization.LocalSubjectAccessReview{},
	"authorization.k8s.io/v1 SelfSubjectAccessReview":  authorization.SelfSubjectAccessReview{},
	"authorization.k8s.io/v1 SelfSubjectRulesReview":   authorization.SelfSubjectRulesReview{},
	"authorization.k8s.io/v1 SubjectAccessReview":      authorization.SubjectAccessReview{},
	"autoscaling/v1 Scale":                             autoscaling.Scale{},
	"coordination.k8s.io/v1 Lease":                     coordination.Lease{},
	"discovery.k8s.io/v1 EndpointSlice":                discovery.EndpointSlice{},
	"events.k8s.io/v1 Event":                           events.Event{},
	"policy/v1 Eviction":                               policy.Eviction{},
	"rbac.authorization.k8s.io/v1 Role":                rbac.Role{},
	"rbac.authorization.k8s.io/v1 RoleBinding":         rbac.RoleBinding{},
	"rbac.authorization.k8s.io/v1 ClusterRole":         rbac.ClusterRole{},
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding":  rbac.ClusterRoleBinding{},
}

// Types whose JSON is not an object of their fields.
var special = map[string]bool{
	"Time": true, "MicroTime": true, "Quantity": true, "IntOrString": true, "FieldsV1": true,
	"RawExtension": true, "Duration": true, "ExtraValue": true,
}

var messages = map[string][]string{}

func name(t reflect.Type) string {
	if special[t.Name()] {
		return t.Name()
	}
	parts := strings.Split(t.PkgPath(), "/")
	return parts[len(parts)-2] + "." + t.Name()
}

func walk(t reflect.Type) {
	if _, done := messages[name(t)]; done || special[t.Name()] {
		return
	}
	messages[name(t)] = nil
	var lines []string
	for i := 0; i < t.NumField(); i++ {
		if line := field(t.Field(i)); line != "" {
			lines = append(lines, line)
		}
	}
	messages[name(t)] = lines
}

func field(f reflect.StructField) string {
	tag := strings.Split(f.Tag.Get("protobuf"), ",")
	if len(tag) < 2 {
		return ""
	}
	number, err := strconv.Atoi(tag[1])
	if err != nil {
		panic(err)
	}
	json := strings.Split(f.Tag.Get("json"), ",")
	inline := json[0] == "" && (f.Anonymous || strings.Contains(f.Tag.Get("json"), "inline"))
	jsonName := json[0]
	if inline {
		jsonName = "-"
	}
	if jsonName == "" {
		panic(f.Name)
	}
	return fmt.Sprintf("%d %s %s", number, jsonName, kind(f.Type))
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		inner := kind(t.Elem())
		if special[inner] || strings.Contains(inner, ".") {
			return inner
		}
		return "*" + inner
	case reflect.Slice:
		if t.Name() == "ExtraValue" {
			return "ExtraValue"
		}
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + kind(t.Elem())
	case reflect.Map:
		return "{}" + kind(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64:
		return "int"
	case reflect.Struct:
		walk(t)
		return name(t)
	}
	panic(t.String())
}

func main() {
	fmt.Println("# Made by devcluster/tests/kubectl/fields from k8s.io/api v0.34; do not edit.")
	var kinds []string
	for kind, root := range roots {
		t := reflect.TypeOf(root)
		walk(t)
		kinds = append(kinds, "= "+kind+" "+name(t))
	}
	sort.Strings(kinds)
	for _, line := range kinds {
		fmt.Println(line)
	}
	var names []string
	for name := range messages {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Println(name)
		for _, line := range messages[name] {
			fmt.Println(" " + line)
		}
	}
}
