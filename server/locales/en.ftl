# Text messages. Characters of the GSM alphabet only (no curly apostrophes).
code-sign-in = { $code } is your sign-in code for { $organisation }. Never share it with anyone.
code-confirm-number = { $code } confirms your phone number for { $organisation }. Never share this code.

# What happened to the account
-not-you = Wasn't this you? Contact your helpdesk.
device-added = { $organisation }: the device { $name } can now approve your sign-ins. { -not-you }
device-removed = { $organisation }: the device { $name } can no longer approve your sign-ins. { -not-you }
phone-added = { $organisation }: the number { $number } will receive your sign-in codes from now on. { -not-you }
phone-removed = { $organisation }: the number { $number } will no longer receive your sign-in codes. { -not-you }
totp-added = { $organisation }: an authenticator app was added to your account. { -not-you }
totp-removed = { $organisation }: the authenticator app was removed from your account. { -not-you }
recovery-codes-made = { $organisation }: new recovery codes were made. The old ones no longer work. { -not-you }
recovery-codes-removed = { $organisation }: your recovery codes were removed and no longer work. { -not-you }
account-locked = { $organisation }: your account is locked. Contact your helpdesk.
account-unlocked = { $organisation }: your account is unlocked. You can sign in again. { -not-you }
account-reset = { $organisation }: your ways to sign in were erased. Please register them again. { -not-you }
sign-in-reported = { $organisation }: a sign-in was reported as not yours. Change your password and contact your helpdesk.

# Where a name is missing
your-organisation = your organisation
unnamed = without a name
