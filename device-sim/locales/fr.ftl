# La question sur le téléphone
prompt-title = Approuver la connexion ?
deny = REFUSER
approve = APPROUVER
not-me = Ce n’était pas moi
key-deny = r
key-approve = a
key-not-me = p

label-account = Compte
label-application = Application
label-place = Lieu
label-address = Adresse
label-time = Heure
label-message = Message
moment = { $day }/{ $month }/{ $year } { $clock }
place-and-address = { $place } ({ $address })

number = Tapez le nombre de la page de connexion :
number-first = Tapez d’abord le nombre de { $digits } chiffres affiché sur la page de connexion.
sending = Envoi de la réponse …

# Comment cela s’est terminé
done-approved = Connexion approuvée.
done-denied = Connexion refusée.
done-reported = Signalé : ce n’était pas vous. La connexion est refusée.
done-revoked = Signalé : ce n’était pas vous. La connexion avait été approuvée ; le demandeur est averti.
done-wrong-number = Ce n’était pas le nombre de la page de connexion. La connexion est refusée.
withdrawn = La demande a été retirée.
withdrawn-answered = La demande a déjà reçu une réponse.
withdrawn-superseded = La demande a été remplacée par une plus récente.
expired = La demande a expiré.
answer-failed = La réponse n’est pas arrivée : { $cause }

# L’application
enrolled = Ce téléphone est enregistré pour { $account } chez { $organisation }.
waiting = En attente de connexions. { $key } = quitter.
untrusted = Une demande ne vient pas du serveur de confiance ; elle n’est pas affichée.
disconnected = Pas de connexion au serveur : { $cause }
connected = Connecté au serveur.
removed = Ce téléphone n’est plus enregistré.
no-input = Pas de clavier : les demandes sont affichées, mais sans réponse possible.
goodbye = Au revoir.
approved-elsewhere = Une connexion à { $application } a été approuvée avec un autre appareil ou un code. { $key } = ce n’était pas moi.
or-not-me = { $key } = ce n’était pas moi.

# Ce qui est arrivé au compte
notice-unknown = Quelque chose a changé dans votre compte. Si ce n’était pas vous, appelez votre assistance.
notice-device-added = L’appareil { $detail } peut désormais approuver vos connexions. Si ce n’était pas vous, appelez votre assistance.
notice-device-removed = L’appareil { $detail } ne peut plus approuver vos connexions. Si ce n’était pas vous, appelez votre assistance.
notice-phone-added = Le numéro { $detail } reçoit désormais vos codes de connexion. Si ce n’était pas vous, appelez votre assistance.
notice-phone-removed = Le numéro { $detail } ne reçoit plus de codes de connexion. Si ce n’était pas vous, appelez votre assistance.
notice-totp-added = Une application d’authentification a été ajoutée. Si ce n’était pas vous, appelez votre assistance.
notice-totp-removed = L’application d’authentification a été supprimée. Si ce n’était pas vous, appelez votre assistance.
notice-recovery-codes-created = De nouveaux codes de récupération ont été créés ; les anciens ne fonctionnent plus. Si ce n’était pas vous, appelez votre assistance.
notice-recovery-codes-removed = Vos codes de récupération ont été supprimés. Si ce n’était pas vous, appelez votre assistance.
notice-account-locked = Votre compte est verrouillé. Appelez votre assistance.
notice-account-unlocked = Votre compte est déverrouillé. Si ce n’était pas vous, appelez votre assistance.
notice-account-reset = Tous vos moyens de connexion ont été supprimés. Si vous ne l’avez pas demandé, appelez votre assistance.
