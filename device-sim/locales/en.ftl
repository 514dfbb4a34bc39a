# The question on the phone
prompt-title = Approve sign-in?
deny = DENY
approve = APPROVE
not-me = That wasn’t me
key-deny = d
key-approve = a
key-not-me = n

label-account = Account
label-application = Application
label-place = Place
label-address = Address
label-time = Time
label-message = Message
moment = { $year }-{ $month }-{ $day } { $clock }
place-and-address = { $place } ({ $address })

number = Type the number on the sign-in page:
number-first = First type the { $digits }-digit number shown on the sign-in page.
sending = Sending the answer …

# How it ended
done-approved = Sign-in approved.
done-denied = Sign-in denied.
done-reported = Reported: it wasn’t you. The sign-in is denied.
done-revoked = Reported: it wasn’t you. The sign-in had been approved; whoever asked is told.
done-wrong-number = That wasn’t the number on the sign-in page. The sign-in is denied.
withdrawn = The request was withdrawn.
withdrawn-answered = The request was answered already.
withdrawn-superseded = The request was replaced by a newer one.
expired = The request has expired.
answer-failed = The answer did not arrive: { $cause }

# The app
enrolled = This phone is registered for { $account } at { $organisation }.
waiting = Waiting for sign-ins. { $key } = quit.
untrusted = A request came that is not from the trusted server; it is not shown.
disconnected = No connection to the server: { $cause }
connected = Connected to the server.
removed = This phone is no longer registered.
no-input = There is no keyboard: requests are shown, but not answered.
goodbye = Goodbye.
approved-elsewhere = A sign-in to { $application } was approved with another device or a code. { $key } = that wasn’t me.
or-not-me = { $key } = that wasn’t me.

# What happened to the account
notice-unknown = Something about your account has changed. If that wasn’t you, call your help desk.
notice-device-added = The device { $detail } can now approve your sign-ins. If that wasn’t you, call your help desk.
notice-device-removed = The device { $detail } can no longer approve your sign-ins. If that wasn’t you, call your help desk.
notice-phone-added = The number { $detail } now gets your sign-in codes. If that wasn’t you, call your help desk.
notice-phone-removed = The number { $detail } no longer gets sign-in codes. If that wasn’t you, call your help desk.
notice-totp-added = An authenticator app was added. If that wasn’t you, call your help desk.
notice-totp-removed = The authenticator app was removed. If that wasn’t you, call your help desk.
notice-recovery-codes-created = New recovery codes were made; earlier ones no longer work. If that wasn’t you, call your help desk.
notice-recovery-codes-removed = Your recovery codes were removed. If that wasn’t you, call your help desk.
notice-account-locked = Your account is locked. Call your help desk.
notice-account-unlocked = Your account is unlocked. If that wasn’t you, call your help desk.
notice-account-reset = All your ways to sign in were removed. If you did not ask for that, call your help desk.
