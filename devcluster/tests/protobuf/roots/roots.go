// Package roots lists the kinds that requests to the API server have as their body.
package roots

import (
	admissionregistration "k8s.io/api/admissionregistration/v1"
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
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Kinds by apiVersion; what a kind is called is its type's name.
var Kinds = map[string][]runtime.Object{
	"v1": {
		&core.ConfigMap{}, &core.Event{}, &core.Namespace{}, &core.Node{}, &core.Pod{},
		&core.Secret{}, &core.Service{}, &core.ServiceAccount{}, &core.Binding{},
		&meta.DeleteOptions{},
	},
	"admissionregistration.k8s.io/v1": {
		&admissionregistration.MutatingWebhookConfiguration{},
		&admissionregistration.ValidatingWebhookConfiguration{},
	},
	"apiextensions.k8s.io/v1": {&apiextensions.CustomResourceDefinition{}},
	"apps/v1":                 {&apps.Deployment{}, &apps.ReplicaSet{}, &apps.StatefulSet{}},
	"authentication.k8s.io/v1": {
		&authentication.TokenRequest{}, &authentication.TokenReview{},
		&authentication.SelfSubjectReview{},
	},
	"authorization.k8s.io/v1": {
		&authorization.LocalSubjectAccessReview{}, &authorization.SelfSubjectAccessReview{},
		&authorization.SelfSubjectRulesReview{}, &authorization.SubjectAccessReview{},
	},
	"autoscaling/v1":         {&autoscaling.Scale{}},
	"coordination.k8s.io/v1": {&coordination.Lease{}},
	"discovery.k8s.io/v1":    {&discovery.EndpointSlice{}},
	"events.k8s.io/v1":       {&events.Event{}},
	"policy/v1":              {&policy.Eviction{}, &policy.PodDisruptionBudget{}},
	"rbac.authorization.k8s.io/v1": {
		&rbac.Role{}, &rbac.RoleBinding{}, &rbac.ClusterRole{}, &rbac.ClusterRoleBinding{},
	},
}
