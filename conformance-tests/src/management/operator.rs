//! An operator who gives orders by the HTTP API.
//!
//! What it is not: someone who raises alarms; the API cannot.

use serde_json::{Map, Value, json};

use super::Management;
use super::client::segment;
use crate::failure::Failure;
use crate::operator::{
    CarryingOut, Duty, Operator, Order, PermissionsOrder, PolicyName, PolicyOrder, Setting,
};

impl Operator for Management {
    fn offers(&self, duty: Duty) -> bool {
        match duty {
            Duty::Policies | Duty::Permissions | Duty::Connections | Duty::Vhosts => true,
            Duty::Alarms => false,
        }
    }

    fn carry_out(&self, order: Order) -> CarryingOut<'_> {
        Box::pin(self.give(order))
    }
}

impl Management {
    async fn give(&self, order: Order) -> Result<(), Failure> {
        let client = &self.client;
        match order {
            Order::SetPolicy(policy) => {
                client
                    .put(&path_of(&policy.name), policy_body(&policy))
                    .await
            }
            Order::ClearPolicy(name) => client.delete(&path_of(&name), "").await,
            Order::SetPermissions(order) => self.permit(&order).await,
            Order::CloseConnection { name, reason } => self.close(&name, &reason).await,
            Order::AddVhost(name) => client.put(&vhost(&name), json!({})).await,
            Order::DeleteVhost(name) => client.delete(&vhost(&name), "").await,
            Order::RaiseAlarm(_) | Order::ClearAlarm(_) => {
                Err(Failure::new("the HTTP API raises no alarms"))
            }
        }
    }

    async fn permit(&self, order: &PermissionsOrder) -> Result<(), Failure> {
        let path = format!(
            "permissions/{}/{}",
            segment(&order.vhost),
            segment(&order.user)
        );
        let body = json!({
            "configure": order.configure,
            "write": order.write,
            "read": order.read,
        });
        self.client.put(&path, body).await
    }

    async fn close(&self, user_provided_name: &str, reason: &str) -> Result<(), Failure> {
        let found = self.connection(user_provided_name).await?;
        let path = format!("connections/{}", segment(&found.name));
        self.client.delete(&path, reason).await
    }
}

fn vhost(name: &str) -> String {
    format!("vhosts/{}", segment(name))
}

fn path_of(policy: &PolicyName) -> String {
    let kind = match policy.is_operators {
        true => "operator-policies",
        false => "policies",
    };
    format!(
        "{kind}/{}/{}",
        segment(&policy.vhost),
        segment(&policy.name)
    )
}

fn policy_body(policy: &PolicyOrder) -> Value {
    let definition: Map<String, Value> = policy
        .definition
        .iter()
        .map(|(key, setting)| ((*key).to_owned(), value(setting)))
        .collect();
    json!({
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "priority": policy.priority,
        "definition": definition,
    })
}

fn value(setting: &Setting) -> Value {
    match setting {
        Setting::Number(number) => json!(number),
        Setting::Text(text) => json!(text),
    }
}
